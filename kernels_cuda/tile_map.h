#pragma once

#include <cstdint>

#include <cuda.h>

#include "base/dtype.h"

namespace headlight::cuda {

/// Matrices of 16-bit elements in device memory, one per head.
struct HeadMatrices {
  const void* data;  ///< aligned to 16 bytes
  int cols, rows, heads;
  std::int64_t row_stride, head_stride;  ///< elements, multiples of 8
};

/// How the bulk copy engine cuts tiles of `tile_rows` x 64 elements out of them, in the 128-byte swizzle.
/// @error unsupported  a driver without it; failed  the driver refused
CUtensorMap tile_map(DType dtype, const HeadMatrices& matrices, int tile_rows);

}  // namespace headlight::cuda
