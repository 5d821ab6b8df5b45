#include "kernels/attention_direct.inl"

namespace headlight::kernels {

const AttentionLoops& attention_loops_scalar() {
  return kLoops;
}

}  // namespace headlight::kernels
