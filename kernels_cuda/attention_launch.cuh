// How the attention kernels start: a row of blocks for every head.

#pragma once

#include "kernels_cuda/attention_params.h"

namespace headlight::cuda {

/// @param rows, rows_per_block  queries of the first pass, keys of the second
inline void launch_per_head(const char* name, void (*kernel)(AttentionParams), const AttentionParams& p, int rows,
                            int rows_per_block, int threads, std::size_t shared_bytes, cudaStream_t stream) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  const dim3 grid(static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block),
                  static_cast<unsigned>(p.num_heads));
  kernel<<<grid, static_cast<unsigned>(threads), shared_bytes, stream>>>(p);
  check_launch(name);
}

}  // namespace headlight::cuda
