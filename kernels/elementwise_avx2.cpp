#include "kernels/elementwise_tiers.h"

namespace headlight::kernels {
namespace {
constexpr int kLanes = 8;
}
}  // namespace headlight::kernels

#include "kernels/elementwise_loops.inl"

namespace headlight::kernels {

const ElementwiseLoops& elementwise_loops_avx2() {
  return kLoops;
}

}  // namespace headlight::kernels
