#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analysis/roles/needle_scores.h"
#include "analysis/roles/pattern_scores.h"

namespace headlight::analysis {

/// Mean attention from sentence a to sentence b, [m][m]: sum over the block / (|a| |b|); NaN above the diagonal.
std::vector<double> sentence_matrix(const AttentionMap& map, std::span<const TokenSpan> sentences);

struct VerticalOptions {
  std::int64_t proximity = 4;  ///< pairs closer than this many sentences do not count
  bool control_depth = false;  ///< rows are replaced by rank / entries before the average
};
/// v[b] = mean over a >= b + proximity of the sentence matrix; NaN for the last sentences.
std::vector<double> vertical_scores(std::span<const double> mean_ab, std::int64_t sentences,
                                    const VerticalOptions& options = {});

/// Excess kurtosis, biased moments, NaN left out; NaN for fewer than 2 values or no spread. It does not see scale: (1,
/// 1, 1, 1, 9) / 100 and (20, 20, 20, 20, 21) / 1000 have the same.
double kurtosis(std::span<const double> values);

/// A head whose attention lands on few sentences.
struct ReceiverScore {
  double kurtosis = 0;       ///< of the vertical scores
  double peak = 0;           ///< the largest of them
  bool above_floor = false;  ///< peak >= 2 / tokens: enough mass to mean something
};
/// @see Thought Anchors: Which LLM Reasoning Steps Matter?
ReceiverScore receiver_score(const AttentionMap& map, std::span<const TokenSpan> sentences,
                             const VerticalOptions& options = {});

/// ln(KL + 1e-9) of one position between the next-token distribution without and with a sentence hidden, both at a
/// temperature of 0.6 and on the union of their nucleus sets (probability 0.9999, at most 100 tokens each).
/// @see Thought Anchors: Which LLM Reasoning Steps Matter?
double suppression_effect(std::span<const float> base_v, std::span<const float> masked_v);

/// Subtracts from every row of a strictly lower triangular [m][m] matrix its mean over b < a; the rest is NaN.
void center_rows(std::span<double> effect_ab, std::int64_t sentences);

}  // namespace headlight::analysis
