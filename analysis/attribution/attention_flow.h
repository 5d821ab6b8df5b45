#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"

namespace headlight::analysis {

struct FlowOptions {
  std::int64_t target = -1;  ///< row of the last layer; -1 = the last
  double smallest = 1e-4;    ///< capacities below are left out
  double units = 1e7;        ///< capacities are rounded to integers of 1 / units
  bool normalise = true;     ///< divide by the sum over source tokens
};

/// Attention flow: nodes (l, i), l = 0..L; edge (l+1, i) -> (l, j) with capacity M[l][i][j] (attention fused over heads
/// and mixed with the residual, see mixed_map()); attr[j] = maximum flow from (L, target) to (0, j).
///
/// Restricted to short records: N maximum flows on a graph of L N^2 / 2 edges.
/// @param maps  L matrices [N][N]
/// @return attr_j [N]; before normalisation at most 1 each, and at least the largest bottleneck of a single path
/// @error invalid_argument  more than 256 rows; cancelled
/// @see Quantifying Attention Flow in Transformers
std::vector<double> attention_flow(std::span<const std::vector<double>> maps, std::int64_t num_rows,
                                   const FlowOptions& options, ThreadPool& pool, std::stop_token stop = {});

}  // namespace headlight::analysis
