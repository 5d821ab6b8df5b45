// Tiles of 16-bit operands for wgmma: blocks of 64 columns one after the other, each [rows][64] in the 128-byte
// swizzle.

#pragma once

#include "kernels_cuda/ptx_hopper.cuh"

namespace headlight::cuda {

/// Starts copies of rows [first, first + kRows) of kDim elements into a swizzled tile; rows outside [0, end) are zero.
/// @param thread  of kThreads that take part
template <class T, int kRows, int kDim, int kThreads>
__device__ __forceinline__ void load_swizzled(T* tile, const T* from, std::int64_t row_stride, int first, int end,
                                              int thread) {
  constexpr int kChunks = kDim / 8;
  static_assert(kRows * kChunks % kThreads == 0);
  const std::uint32_t base = shared_address(tile);
#pragma unroll 8
  for (int c = thread; c < kRows * kChunks; c += kThreads) {
    const int row = c / kChunks, chunk = c % kChunks, i = first + row;
    const bool valid = i >= 0 && i < end;
    const std::uint32_t to = base + (chunk / 8 * kRows + row) * 128 + ((chunk % 8) ^ (row % 8)) * 16;
    copy_async(to, from + (valid ? i * row_stride + chunk * 8 : 0), valid);
  }
}

/// s[64][128] = a b^T for this warpgroup: rows [64 part, 64 part + 64) of a tile of kRowsA rows times a tile of 128
/// rows. Issued, not waited for.
template <class T, int kDim, int kRowsA>
__device__ __forceinline__ void issue_scores(float (&s)[16][4], const T* a, int part, const T* b) {
  const std::uint32_t left = shared_address(a) + part * 64 * 128, right = shared_address(b);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    const std::uint32_t step = k % 4 * 32;
    multiply_64x128<T>(s, operand(left + k / 4 * kRowsA * 128 + step), operand(right + k / 4 * 128 * 128 + step),
                       k > 0);
  }
}

}  // namespace headlight::cuda
