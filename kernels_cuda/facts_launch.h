#pragma once

#include <cuda_runtime_api.h>

#include "kernels_cuda/cuda_facts.h"

// Private: launches of hidden_kernels.cu, norm_kernels.cu and topk_kernels.cu; arguments have been checked.
namespace headlight::cuda {

void launch_hidden(const HiddenCall& call, cudaStream_t stream);
std::size_t median_state_bytes();
void launch_median(const MedianCall& call, int num_multiprocessors, cudaStream_t stream);
void launch_massive(const MassiveCall& call, cudaStream_t stream);
void launch_head_norms(const HeadNormsCall& call, cudaStream_t stream);
void launch_gram(const GramCall& call, int padded_dim, cudaStream_t stream);
void launch_value_norms(const ValueNormsCall& call, int padded_dim, cudaStream_t stream);
void launch_topk(const TopkCall& call, cudaStream_t stream);

}  // namespace headlight::cuda
