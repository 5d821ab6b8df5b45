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
  // A thread keeps its column and its place in the swizzle: one addition per copy.
  constexpr int kChunks = kDim / 8, kStep = kThreads / kChunks;
  static_assert(kStep % 8 == 0 && kRows % kStep == 0);
  const int chunk = thread % kChunks, row = thread / kChunks;
  std::uint32_t to = shared_address(tile) + (chunk / 8 * kRows + row) * 128 + ((chunk % 8) ^ (row % 8)) * 16;
  const T* at = from + static_cast<std::int64_t>(first + row) * row_stride + chunk * 8;
#pragma unroll
  for (int k = 0; k < kRows / kStep; ++k) {
    const bool valid = static_cast<unsigned>(first + row + k * kStep) < static_cast<unsigned>(end);
    copy_async(to + k * kStep * 128, valid ? at : from, valid);
    at += kStep * row_stride;
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
