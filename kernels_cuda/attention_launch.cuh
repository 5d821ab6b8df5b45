// How the attention kernels start.

#pragma once

#include "kernels_cuda/attention_params.h"

namespace headlight::cuda {

template <class Params>
void launch(const char* name, void (*kernel)(Params), const Params& params, dim3 blocks, int threads,
            std::size_t shared_bytes, cudaStream_t stream) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  kernel<<<blocks, static_cast<unsigned>(threads), shared_bytes, stream>>>(params);
  check_launch(name);
}

/// A row of blocks for every head. @param rows, rows_per_block  queries of the first pass, keys of the second
inline void launch_per_head(const char* name, void (*kernel)(AttentionParams), const AttentionParams& p, int rows,
                            int rows_per_block, int threads, std::size_t shared_bytes, cudaStream_t stream) {
  const dim3 blocks(static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block),
                    static_cast<unsigned>(p.num_heads));
  launch(name, kernel, p, blocks, threads, shared_bytes, stream);
}

}  // namespace headlight::cuda
