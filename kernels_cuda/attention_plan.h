#pragma once

#include "kernels_cuda/attention_params.h"

// Private: what the host decides about a call before anything is launched.
namespace headlight::cuda {

/// Head size of the kernel that takes this one: 64, 80, 96, 128 or 256; the rest of a row is read as 0.
/// @error invalid_argument  not a multiple of 8, or larger than 256
int kernel_head_dim(int head_dim);

/// Checks shapes, strides and alignment, and translates. @error invalid_argument
AttentionParams make_params(const AttentionInputs& in, const kernels::AttentionStatisticsPlan* plan,
                            const kernels::AttentionStatistics* statistics);

/// Where the output goes. @error invalid_argument  not aligned to pairs of elements, or rows that overlap
void set_output(AttentionParams& params, void* out_ihd, std::int64_t out_stride);

enum class AttentionPass { rows, columns };

/// Whether a pass takes the kernels of the Hopper tier. @error unsupported  asked for, but not covered
bool takes_hopper(const AttentionParams& params, AttentionPass pass, AttentionTier tier, int major);

/// Device memory for partial block sums; 0 unless blocks are wider than a key tile.
std::size_t workspace_bytes(const AttentionInputs& in, const kernels::AttentionStatisticsPlan& plan);

}  // namespace headlight::cuda
