#include "kernels/linear_tiers.h"

namespace headlight::kernels {

TypeKernels type_kernels_avx512vnni(TensorType) {
  return {};
}

}  // namespace headlight::kernels
