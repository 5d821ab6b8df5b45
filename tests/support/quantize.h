#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/tensor_type.h"

namespace headlight::testing_support {

/// A row in stored form by round-to-nearest: good enough for tests, not for use. F32, F16, BF16, Q4_0, Q4_1, Q5_0,
/// Q5_1, Q8_0, Q4_K, Q5_K, Q6_K; anything else throws std::invalid_argument.
std::vector<std::byte> quantize_row(TensorType type, std::span<const float> values);

/// Rows of `cols` elements, one after the other.
std::vector<std::byte> quantize_rows(TensorType type, std::span<const float> values, std::size_t cols);

}  // namespace headlight::testing_support
