#pragma once

#include <cuda_runtime_api.h>

#include "kernels_cuda/cuda_dense.h"

// Private: launches of dense_kernels.cu; arguments have been checked.
namespace headlight::cuda {

void launch_normalize(const NormCall& call, cudaStream_t stream);
void launch_operands(const OperandsCall& call, cudaStream_t stream);
void launch_activate(const ActivationCall& call, cudaStream_t stream);
void launch_embed(const EmbeddingCall& call, cudaStream_t stream);
void launch_narrow(DType dtype, const float* x, std::int64_t count, void* y, cudaStream_t stream);
void launch_soft_cap(float* x, float cap, std::int64_t count, cudaStream_t stream);
void launch_find_nonfinite(const float* x, std::int64_t n, std::int64_t d, std::int64_t start, int* first_bad,
                           cudaStream_t stream);

}  // namespace headlight::cuda
