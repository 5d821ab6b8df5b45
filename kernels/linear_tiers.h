#pragma once

#include <cstdint>

#include "kernels/tensor_type.h"

// Between linear.cpp and the units that are compiled for one instruction set each. Those units take raw pointers and
// include nothing that defines inline functions of external linkage.

namespace headlight::kernels {

constexpr int kMaxDotRows = 4;        ///< rows of x that one pass over the weights serves
constexpr int kActivationBlock = 32;  ///< values of x that share a sum, and a scale in linear_q8()

/// y[i * y_stride + r] = <x[i], w[r]> + bias[r] for r < rows, i < n <= kMaxDotRows.
struct DotArgs {
  const std::uint8_t* w = nullptr;  ///< first weight row
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  const float* sums = nullptr;  ///< [n][sums_stride] sums of 32 values of x; only for types with a minimum
  std::int64_t sums_stride = 0;
  int n = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  const float* bias = nullptr;
};

/// As DotArgs with x given as xq * scale: blocks of 32 per row.
struct DotQ8Args {
  const std::uint8_t* w = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::int8_t* xq = nullptr;  ///< [n][cols], -127..127
  const float* scales = nullptr;    ///< [n][cols / 32]
  const float* sums = nullptr;      ///< [n][cols / 32] scale times the sum of the block's xq
  int n = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  const float* bias = nullptr;
};

/// Fast kernels of one tier for one type; nullptr = the plain path.
struct TypeKernels {
  void (*dequantize)(const std::uint8_t* row, float* out, std::int64_t cols) = nullptr;  ///< bits of dequantize_row()
  void (*dot)(const DotArgs& args) = nullptr;
  void (*dot_q8)(const DotQ8Args& args) = nullptr;
};

/// x = xq * scale per 32 values: scale = max|x| / 127, xq rounded to nearest, ties to even; sum = scale * sum of xq. A
/// block of values below 1e-36 counts as zeros. A block with NaN or infinity gets a NaN scale, so that it shows in the
/// product. The same bits on every tier.
void quantize_q8_scalar(const float* x, std::int64_t count, std::int8_t* xq, float* scales, float* sums);
void quantize_q8_avx2(const float* x, std::int64_t count, std::int8_t* xq, float* scales, float* sums);
constexpr float kSmallestQ8 = 1e-36f;

TypeKernels type_kernels_avx2(TensorType type);
TypeKernels type_kernels_avx512(TensorType type);
TypeKernels type_kernels_avx512vnni(TensorType type);

/// Of the active tier.
TypeKernels type_kernels(TensorType type);

/// Whether values are code * scale + minimum, so that the dot product wants the sums of x.
bool has_minimum(TensorType type);

/// From this many rows of x on, a GEMM on dequantised panels is faster than passes over the weights.
constexpr std::int64_t kGemmMinRows = 9;

/// Plain twin of TypeKernels::dot_q8, for every type with has_codes().
void dot_q8_scalar(TensorType type, const DotQ8Args& args);

/// Whether the type stores small integers with block scales that linear_q8() can multiply as integers.
bool has_codes(TensorType type);

}  // namespace headlight::kernels
