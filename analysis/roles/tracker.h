#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analysis/roles/needle_scores.h"

namespace headlight::analysis {

/// Share of the last row's attention to the instruction among instruction and data: I / (I + D + 1e-8); 0 where both
/// are 0.
double focus(std::span<const float> attn_j, TokenSpan instruction, TokenSpan data);

struct ImportantHeads {
  std::vector<double> margin_h;           ///< mean_N F - mean_A F - k (std_N F + std_A F), population std
  std::vector<std::uint8_t> important_h;  ///< margin > 0
};
/// Heads that look at the instruction of a normal prompt and away from it when the data hold an instruction of their
/// own.
/// @param normal, attack  focus of every prompt, [prompts][heads]
/// @param k               how many standard deviations the difference must exceed
/// @see Attention Tracker: Detecting Prompt Injection Attacks in LLMs
ImportantHeads important_heads(std::span<const std::vector<double>> normal, std::span<const std::vector<double>> attack,
                               double k = 4.0);

/// Focus score of a prompt: mean focus over the important heads; NaN without any.
double focus_score(std::span<const double> focus_h, std::span<const std::uint8_t> important_h);

/// Area under the ROC curve of "score of a positive > score of a negative", ties count half; NaN when a side is empty.
double auroc(std::span<const double> positive, std::span<const double> negative);

}  // namespace headlight::analysis
