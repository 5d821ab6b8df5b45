#include "kernels/elementwise_tiers.h"

namespace headlight::kernels {
namespace {
constexpr int kLanes = 4;
}
}  // namespace headlight::kernels

#include "kernels/elementwise_loops.inl"

namespace headlight::kernels {

const ElementwiseLoops& elementwise_loops_scalar() {
  return kLoops;
}

}  // namespace headlight::kernels
