#pragma once

#include "kernels_cuda/cuda_dense.h"

// Private: matrix products through cuBLASLt, which is loaded when the first one is wanted, so that a program built with
// CUDA starts on a machine without it.
namespace headlight::cuda {

/// @error unsupported  the library cannot be loaded
Matmul* open_matmul(Stream stream);
void close_matmul(Matmul* matmul);
/// @error invalid_argument  a bias or a sum that is not in f32; failed  what the library reported
void run_matmul(Matmul* matmul, const MatmulCall& call);

}  // namespace headlight::cuda
