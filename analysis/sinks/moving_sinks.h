#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Sinks of bidirectional attention over S tokens (diffusion language models), by sums of columns, whose mean is 1:
///
///     j is a sink iff  colsum(j) - (S - colsum(j)) / (S - 1) > epsilon          (column_sum, epsilon = 3)
///     with A(j) = colsum(j) / S:  A(j) S/(S-1) - 1/(S-1) > epsilon / 100        (percent, epsilon = 3)
///
/// The paper states a mean over S rows and epsilon = 3, which no column can reach; the two readings keep the number.
/// Source: Attention Sinks in Diffusion Language Models.
enum class SinkScale { column_sum, percent };

/// A(j) S/(S-1) - 1/(S-1): how far the mean attention on j exceeds that on the others. [S]; 0 for a single token.
std::vector<double> sink_margin(std::span<const double> colsum_j);
std::vector<std::uint8_t> bidirectional_sinks(std::span<const double> colsum_j, double epsilon = 3.0,
                                              SinkScale scale = SinkScale::column_sum);

/// How the strongest column moves over the steps of a generation, p_t = argmax_j colsum(t, j), lowest j of equals.
struct SinkMotion {
  std::vector<std::int64_t> path;  ///< p_t
  double stability = 0.0;          ///< share of steps t >= 1 with p_t = p_{t-1}
  double lifetime = 0.0;           ///< mean length of runs of equal p_t
  double drift = 0.0;              ///< mean of p_t - p_{t-1}, signed, tokens
};
/// @param colsum_tj  [steps][S]
SinkMotion sink_motion(std::span<const double> colsum_tj, std::int64_t num_tokens);

/// Share of sinks that are mask tokens, over all steps; NaN without sinks. @param sink_tj, masked_tj [steps][S]
double masked_share(std::span<const std::uint8_t> sink_tj, std::span<const std::uint8_t> masked_tj);

}  // namespace headlight::analysis
