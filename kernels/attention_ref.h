#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention.h"

namespace headlight::kernels {

/// What attention() gives, in float64. Row arrays are [H][n], column arrays [H][num_keys], n = num_queries.
struct AttentionReference {
  std::vector<double> out_ihd;  ///< [n][H * head_dim]
  std::vector<double> lse_hi, entropy_hi, pmax_hi, first_hi, sink_hi, local_hi, dist1_hi, dist2_hi, off0_hi, off1_hi,
      null_mass_hi;
  std::vector<std::int64_t> jmax_hi;
  std::vector<double> group_mass_hig;  ///< [H][n][num_groups]
  std::vector<double> received_hj, received_tail_hj;
  std::int64_t block_count = 0;              ///< blocks of plan.block_edge that cover keys and queries
  std::vector<double> block_sum, block_max;  ///< [H][block_count][block_count]
  std::vector<double> score_absmax_hi;       ///< max |s| of the row's visible keys, for tolerances
};

/// The definition of attention(), row programs included: materialises one row of scores at a time and computes every
/// statistic literally from the formulas, in float64. Slow; for tests and self tests. The tap is not called.
/// @param plan  nullptr: output, lse and score_absmax only
AttentionReference attention_reference(const AttentionInputs& in, const AttentionStatisticsPlan* plan);

/// Scores of one row in float64: s[j - keys.begin].
std::vector<double> attention_reference_scores(const AttentionInputs& in, int head, std::int64_t row, KeyRange keys);

}  // namespace headlight::kernels
