#include "kernels_cuda/attention_columns.cuh"

namespace headlight::cuda {
HEADLIGHT_DEFINE_COLUMNS(96)
}  // namespace headlight::cuda
