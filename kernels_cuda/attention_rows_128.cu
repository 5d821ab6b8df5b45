#include "kernels_cuda/attention_rows.cuh"

namespace headlight::cuda {
HEADLIGHT_DEFINE_ROWS(128)
}  // namespace headlight::cuda
