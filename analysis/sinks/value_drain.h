#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// How little a head writes when it looks at the first token p, against other tokens:
///
///     drain[h] = nu[h,p] / median_{j > p} nu[h,j],      nu[h,j] = |W_O^h v_j|
///
/// Far below 1: looking at the first token is doing nothing. [heads], NaN without a second token or for a median of 0.
/// Source: Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs.
/// @param u_norm_hj  [heads][N]
std::vector<double> drain_ratio(std::span<const float> u_norm_hj, std::int64_t num_tokens, std::int64_t first);

/// Residual peak of every level: |x[level,p]| / max_{j > p} |x[level,j]|. [levels]; same source.
/// @param norm_lj  [levels][N]
std::vector<double> residual_peak(std::span<const float> norm_lj, std::int64_t num_tokens, std::int64_t first);

/// Why a head looks at the first token p: its scores against those of the other keys, split into lengths and angle.
/// Means over rows i >= p + 2 that see p and a key between.
///
///     gap         = s_ip - mean_{p < j < i} s_ij                     (nats)
///     cos_first   = cos(q_i, k_p)          cos_other = mean_{p < j < i} cos(q_i, k_j)
///
/// Sources: Active-Dormant Attention Heads; When Attention Sink Emerges in Language Models (small |k_p|, large cosine).
struct SinkLogit {
  double gap = 0.0, query_norm = 0.0, first_key_norm = 0.0, other_key_norm = 0.0, cos_first = 0.0, cos_other = 0.0;
};

/// Without a soft cap scores are linear in the key, so that the means need running sums of keys and no map.
/// @param q_id  rows [row_begin, row_begin + rows) of the queries;  @param k_jd  all keys
SinkLogit sink_logit(std::span<const float> q_id, std::int64_t row_begin, std::span<const float> k_jd, int head_dim,
                     const capture::LayerGeometry& geometry, double scale);

}  // namespace headlight::analysis
