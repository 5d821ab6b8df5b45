#pragma once

#include <cstddef>
#include <span>

#include "kernels/tensor_type.h"

namespace headlight::kernels {

/// Reference dequantisation of one row in stored form: the twin that every faster version is tested against.
/// All products and sums in f32, in the order in which the format defines them.
///
/// @param row  row_bytes(type, out.size()) bytes, any alignment
/// @param out  a whole number of blocks
void dequantize_row(TensorType type, const std::byte* row, std::span<float> out);

}  // namespace headlight::kernels
