// Tiles of 16-bit operands in shared memory, and products of them on mma.sync. Rows are padded by 16 bytes, so that the
// eight rows of an ldmatrix lie in different banks.

#pragma once

#include "kernels_cuda/ptx.cuh"

namespace headlight::cuda {

template <int kDim>
inline constexpr int kTileStride = kDim + 8;  ///< elements

/// Starts copies of rows [first, first + kRows) into a tile; rows from `end` on and columns from head_dim on are zero.
template <class T, int kRows, int kDim, int kThreads>
__device__ __forceinline__ void load_tile(T* tile, const T* from, std::int64_t row_stride, int first, int end,
                                          int head_dim) {
  constexpr int kChunks = kDim / 8;
  for (int c = threadIdx.x; c < kRows * kChunks; c += kThreads) {
    const int row = c / kChunks, chunk = c % kChunks;
    const bool valid = first + row < end && first + row >= 0 && chunk * 8 < head_dim;
    copy_async(shared_address(tile + row * kTileStride<kDim> + chunk * 8),
               from + (valid ? (first + row) * row_stride + chunk * 8 : 0), valid);
  }
}

/// 16 rows x kDim of an operand as the left factor of multiply_add, from global memory.
template <class T, int kDim>
__device__ __forceinline__ void load_left(std::uint32_t (&a)[kDim / 16][4], const T* from, std::int64_t row_stride,
                                          int first, int end, int head_dim) {
  const int lane = threadIdx.x & 31, row = first + lane / 4;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int i = row + 8 * (part & 1), d = 16 * k + 8 * (part / 2) + 2 * (lane & 3);
      const bool valid = i < end && d < head_dim;
      a[k][part] = valid ? *reinterpret_cast<const std::uint32_t*>(from + i * row_stride + d) : 0u;
    }
}

/// s[16][kColumns] = a b^T, b [kColumns][kDim] in shared memory.
template <class T, int kDim, int kColumns>
__device__ __forceinline__ void multiply_transposed(float (&s)[kColumns / 8][4], const std::uint32_t (&a)[kDim / 16][4],
                                                    const T* b) {
  const int lane = threadIdx.x & 31;
  const T* at = b + (lane / 16 * 8 + lane % 8) * kTileStride<kDim> + lane / 8 % 2 * 8;
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) s[n][e] = 0.0f;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      std::uint32_t m[4];
      load_matrices(m, shared_address(at + 16 * n * kTileStride<kDim> + 16 * k));
      multiply_add<T>(s[2 * n], a[k], m[0], m[1]);
      multiply_add<T>(s[2 * n + 1], a[k], m[2], m[3]);
    }
}

/// out[16][kDim] += w v, weights in the accumulator layout of the scores, v [kRows][kDim] in shared memory.
template <class T, int kDim, int kRows>
__device__ __forceinline__ void add_product(float (&out)[kDim / 8][4], const float (&w)[kRows / 8][4], const T* v) {
  const int lane = threadIdx.x & 31;
  const T* at = v + (lane / 8 % 2 * 8 + lane % 8) * kTileStride<kDim> + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k) {
    const std::uint32_t a[4] = {pack<T>(w[2 * k][0], w[2 * k][1]), pack<T>(w[2 * k][2], w[2 * k][3]),
                                pack<T>(w[2 * k + 1][0], w[2 * k + 1][1]), pack<T>(w[2 * k + 1][2], w[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      std::uint32_t m[4];
      load_matrices_transposed(m, shared_address(at + 16 * k * kTileStride<kDim> + 16 * n));
      multiply_add<T>(out[2 * n], a, m[0], m[1]);
      multiply_add<T>(out[2 * n + 1], a, m[2], m[3]);
    }
  }
}

}  // namespace headlight::cuda
