#include "kernels/attention_direct.inl"

namespace headlight::kernels {

const AttentionLoops& attention_loops_avx512() {
  return kLoops;
}

}  // namespace headlight::kernels
