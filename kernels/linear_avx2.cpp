#include "kernels/linear_kernels.inl"

namespace headlight::kernels {

TypeKernels type_kernels_avx2(TensorType type) {
  return kernels_of(type);
}

}  // namespace headlight::kernels
