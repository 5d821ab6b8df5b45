#pragma once

#include <cstddef>
#include <cstdint>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "kernels/tensor_type.h"

namespace headlight::kernels {

/// A weight matrix W [rows][cols] in stored form; rows are contiguous (row_bytes(type, cols) apart).
struct MatrixView {
  TensorType type = TensorType::f32;
  std::int64_t rows = 0;  ///< outputs
  std::int64_t cols = 0;  ///< inputs
  const std::byte* data = nullptr;
};

/// Scratch of linear(): one dequantised panel per worker. Kept between calls.
struct LinearWorkspace {
  Buffer<float> panels;
  Buffer<float> rounded;  ///< x of linear_q8()
};

/// y[i, o] = sum_k x[i, k] W[o, k] + bias[o], f32 accumulation; the weights stay quantised, a panel of rows at a time
/// is dequantised. One row of x: fused dequantise-and-dot; several: GEMM on dequantised panels. The same bits for any
/// thread count.
///
/// @param x [n][x_stride], y [n][y_stride]; bias [rows] or nullptr
void linear(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
            std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias);

/// As linear(), with both operands quantised to 8 bits per 32 values (opt-in `--act-quant q8`): faster decode, moves
/// attention by up to 0.1, recorded in every capture made with it. Types that do not store small integers per block
/// (F32, F16, BF16, Q2_K, Q3_K, IQ4_XS) are computed by linear().
void linear_q8(ThreadPool& pool, LinearWorkspace& workspace, const MatrixView& w, const float* x, std::int64_t n,
               std::int64_t x_stride, float* y, std::int64_t y_stride, const float* bias);

/// Dequantises rows [first, first + count) of w into out [count][cols].
void dequantize_rows(const MatrixView& w, std::int64_t first, std::int64_t count, float* out);

}  // namespace headlight::kernels
