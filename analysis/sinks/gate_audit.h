#pragma once

#include <span>
#include <vector>

namespace headlight::analysis {

/// Statistics of an output gate sigma(g) of one head, o' = sigma(g) * o, one number per row (head-wise gates) or the
/// mean over channels of a row (element-wise gates):
///
///     effective_first = mean_i sigma(g_i) A_ip      (the share of the first token that is really written)
///
/// Row p itself is left out. Models without gates have none of this.
/// Source: Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free.
struct GateStatistics {
  double mean = 0.0;    ///< mean of sigma(g)
  double closed = 0.0;  ///< share of rows with sigma(g) < 0.1
  double first = 0.0;   ///< mean of A_ip
  double effective_first = 0.0;
  std::vector<int> histogram;  ///< 10 equal bins of sigma(g) over [0, 1]
};
/// @param gate_i  sigma(g_i) in [0, 1];  @param first_i  A_ip; both over the rows that count
GateStatistics gate_statistics(std::span<const double> gate_i, std::span<const double> first_i);

}  // namespace headlight::analysis
