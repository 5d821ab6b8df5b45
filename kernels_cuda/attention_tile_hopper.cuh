// Tiles of 16-bit operands for wgmma: blocks of 64 columns one after the other, each [rows][64] in the 128-byte
// swizzle.

#pragma once

#include "kernels_cuda/ptx_hopper.cuh"

namespace headlight::cuda {

/// Starts the copy of rows [row, row + kRows) of a head into a tile; its bytes count towards the barrier. Called by one
/// thread. Rows outside the matrix, also before it, are zero.
template <class T, int kRows, int kDim>
__device__ __forceinline__ void copy_tile(T* tile, const CUtensorMap& from, int row, int head, std::uint64_t* barrier) {
  arrive_expecting(barrier, kRows * kDim * sizeof(T));
#pragma unroll
  for (int c = 0; c < kDim / 64; ++c) copy_box(tile + c * kRows * 64, from, 64 * c, row, head, barrier);
}

/// s[64][128] = a b^T for this warpgroup: rows [64 part, 64 part + 64) of a tile of kRowsA rows times a tile of 128
/// rows. Issued, not waited for.
template <class T, int kDim, int kRowsA>
__device__ __forceinline__ void issue_scores(float (&s)[16][4], const T* a, int part, const T* b) {
  const std::uint64_t left = operand(shared_address(a) + part * 64 * 128), right = operand(shared_address(b));
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    const std::uint32_t step = k % 4 * 32;
    multiply_64x128<T>(s, ahead(left, k / 4 * kRowsA * 128 + step), ahead(right, k / 4 * 128 * 128 + step), k > 0);
  }
}

}  // namespace headlight::cuda
