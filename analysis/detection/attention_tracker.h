#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Focus of one head: its attention to the instruction relative to instruction and data,
///     F = inst / (inst + data + 1e-8),   masses of the last prompt row, in [0, 1)
/// @see Attention Tracker: Detecting Prompt Injection Attacks in LLMs
double focus(double instruction_mass, double data_mass);

/// Heads whose focus separates normal prompts from attacked ones:
///     (mean_N - mean_A) - k (std_N + std_A) > 0,   population deviations
/// @param normal_sc, attack_sc  [prompts][cells];  @return cells (layer * H + head), ascending
std::vector<std::int64_t> important_heads(std::span<const double> normal_sc, std::span<const double> attack_sc,
                                          std::int64_t cells, double k = 4.0);

/// Mean focus over the important heads: below the threshold the prompt is rejected.
double focus_score(std::span<const double> focus_c, std::span<const std::int64_t> heads);

/// 0.5 without examples; (mean_N + mean_A) / 2 with both kinds; mean_N - 4 std_N with normal prompts only.
double focus_threshold(std::span<const double> normal, std::span<const double> attack);

}  // namespace headlight::analysis
