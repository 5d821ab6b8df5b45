#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analysis/roles/pattern_scores.h"

namespace headlight::analysis {

/// mean_t sum_s A[t,s] (t-s) over all rows, tokens. With `drop_first` the first token is left out and rows are divided
/// by what remains (rows that keep less than 1e-6 count nowhere): otherwise sink heads look like far readers.
double mean_span(const AttentionMap& map, bool drop_first);

enum class ReadingRange : std::uint8_t { middle, local, global };

/// The `share` of heads with the smallest (local) and the largest (global) span, floor(share n) each; ties and NaN: NaN
/// heads are middle, equal spans go by index.
std::vector<ReadingRange> split_by_span(std::span<const double> span_h, double share = 0.3);

/// w_t = sum_{s <= t} A[t,s] min(t-s, width): windowed average attention distance of an (averaged) map, tokens.
/// @see Attention Illuminates LLM Reasoning: The Preplan-and-Anchor Rhythm Enables Fine-Grained Policy Optimization
std::vector<double> windowed_distance(const AttentionMap& map, std::int64_t width = 10);

/// f_s = mean over t in [s + near, min(s + far, T-1)] of A[t,s]: future attention influence; NaN where no row is left.
std::vector<double> future_influence(const AttentionMap& map, std::int64_t near = 10, std::int64_t far = 50);

/// Positions of the `share` largest values (NaN left out, ties: lower position), ascending.
std::vector<std::int64_t> largest_positions(std::span<const double> values, double share);

/// |w_t - w_{t+1}|: large where a stretch that is planned ahead begins.
std::vector<double> steps_of(std::span<const double> values);

/// Local maxima that rise at least `prominence` above the higher of the lowest points on both sides.
std::vector<std::int64_t> peaks(std::span<const double> values, double prominence = 0.5);

/// How often an anchor follows a plan token within `reach` tokens, beside the share expected of anchors placed at
/// random.
struct Coupling {
  double hits = 0, expected = 0;  ///< shares of the plan tokens, in [0, 1]
};
Coupling coupling(std::span<const std::int64_t> plans, std::span<const std::int64_t> anchors, std::int64_t tokens,
                  std::int64_t reach = 4);

}  // namespace headlight::analysis
