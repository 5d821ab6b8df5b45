#include "kernels/linear_dot_q8.inl"

namespace headlight::kernels {
namespace {

using DotQ8 = decltype(TypeKernels::dot_q8);

DotQ8 dot_q8_kernel(TensorType type) {
  switch (type) {
    case TensorType::q4_0:
      return dot_q8<Q4_0>;
    case TensorType::q4_1:
      return dot_q8<Q4_1>;
    case TensorType::q5_0:
      return dot_q8<Q5_0>;
    case TensorType::q5_1:
      return dot_q8<Q5_1>;
    case TensorType::q8_0:
      return dot_q8<Q8_0>;
    case TensorType::iq4_nl:
      return dot_q8<Iq4Nl>;
    case TensorType::iq4_xs:
      return dot_q8<Iq4Xs>;
    case TensorType::q4_k:
      return dot_q8<Q4_K>;
    case TensorType::q5_k:
      return dot_q8<Q5_K>;
    case TensorType::q6_k:
      return dot_q8<Q6_K>;
    default:
      return nullptr;
  }
}

}  // namespace

/// The f32 kernels of AVX-512 and integer products in one instruction.
TypeKernels type_kernels_avx512vnni(TensorType type) {
  TypeKernels kernels = type_kernels_avx512(type);
  kernels.dot_q8 = dot_q8_kernel(type);
  return kernels;
}

}  // namespace headlight::kernels
