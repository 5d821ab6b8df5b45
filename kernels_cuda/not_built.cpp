#include "kernels_cuda/cuda_kernels.h"

namespace headlight::cuda {

const CudaKernels* cuda_kernels() {
  return nullptr;
}

}  // namespace headlight::cuda
