#include "kernels/attention_direct.inl"

namespace headlight::kernels {

const AttentionLoops& attention_loops_avx2() {
  return kLoops;
}

}  // namespace headlight::kernels
