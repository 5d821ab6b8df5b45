#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

struct LayerBudgetOptions {
  std::int64_t capacity = 0;  ///< C: mean entries per layer; C L in all
  std::int64_t minimum = 32;  ///< of a layer
  std::int64_t maximum = 0;   ///< of a layer; 0 = 3 C
};

/// Cache entries per layer from each layer's compression error e (>= 0, summing to 1):
///
///     b_l = clip(minimum + round(e_l (C L - minimum L)), minimum, maximum)
///
/// and then one entry at a time to (from) layers in the order of descending (ascending) e until they sum to C L; what
/// the limits forbid is left. Halves round to even, ties go to the lower layer.
/// @error invalid_argument  capacity < minimum, or maximum < minimum
/// @see CompressKV: Semantic Retrieval Heads Know What Tokens are Not Important Before Generation
std::vector<std::int64_t> layer_budgets(std::span<const double> error_l, const LayerBudgetOptions& options);

struct HeadBudgetOptions {
  std::int64_t capacity = 0;  ///< C: mean entries per query head, window included
  std::int64_t window = 32;   ///< last tokens that every head keeps beside its budget
  double beta = 1.1;          ///< > 1; the larger, the smaller the pool that is shared out by score
  double temperature = 1.0;   ///< scores^temperature before they are normalised
  bool repair = false;        ///< make the budgets sum to L H (C - window); the published code leaves them rounded
};

/// Cache entries per query head beside the window, from importance scores:
///
///     base = C - window,  q = floor(base / beta),  cap_h = round(p_h q L H + base - q),  p = s^temperature / sum
///
/// @error invalid_argument  no positive score, capacity <= window, beta <= 1
/// @see Not All Heads Matter: A Head-Level KV Cache Compression Method with Integrated Retrieval and Reasoning
std::vector<std::int64_t> head_budgets(std::span<const double> score_lh, const HeadBudgetOptions& options);

}  // namespace headlight::analysis
