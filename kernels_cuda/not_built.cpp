#include "kernels_cuda/cuda_dense.h"
#include "kernels_cuda/cuda_facts.h"

namespace headlight::cuda {

const CudaKernels* cuda_kernels() {
  return nullptr;
}

const DenseKernels* dense_kernels() {
  return nullptr;
}

const FactKernels* fact_kernels() {
  return nullptr;
}

}  // namespace headlight::cuda
