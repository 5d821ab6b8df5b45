#include "kernels/linear_tiers.h"

namespace headlight::kernels {

TypeKernels type_kernels_avx512(TensorType) {
  return {};
}

}  // namespace headlight::kernels
