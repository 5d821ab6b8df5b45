#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/formats/tensor_type.h"

namespace headlight::formats {

/// A row in stored form by round-to-nearest with the scale of the largest value: no search for better scales, no
/// importance matrix. F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K.
/// @error unsupported  another type; invalid_argument  a row that is not whole blocks
std::vector<std::byte> quantize_row(TensorType type, std::span<const float> values);

/// Rows of `cols` elements, one after the other.
std::vector<std::byte> quantize_rows(TensorType type, std::span<const float> values, std::size_t cols);

}  // namespace headlight::formats
