#include "kernels_cuda/attention_rows.cuh"

namespace headlight::cuda {
HEADLIGHT_DEFINE_ROWS(96)
}  // namespace headlight::cuda
