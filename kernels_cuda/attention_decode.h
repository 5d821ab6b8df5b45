#pragma once

#include <cstddef>

#include "kernels_cuda/attention_params.h"

// Private: attention of a single query, whose keys are split among blocks.
namespace headlight::cuda {

/// Whether a call is one: a single query, at most 16 query heads a KV head, head_dim to 128, and keys worth splitting.
bool is_decode(const AttentionParams& params);

std::size_t decode_scratch_bytes(const AttentionParams& params, bool statistics);

/// Output, and with statistics every row and column statistic and the block map.
/// @param scratch  decode_scratch_bytes() of device memory
void launch_decode(const AttentionParams& params, DType dtype, bool statistics, void* scratch, cudaStream_t stream);

}  // namespace headlight::cuda
