#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// How far the information of each token spreads through the layers, a proxy for the bound on |d x[L,j] / d x[0,i]|:
///
///     B[l] = (mean_h A[l,h] + I) / 2,    R = B[L-1] ... B[0],    spread(i) = sum_{j > i} R_ji
///
/// The row of column sums 1^T R is carried through the layers from the last to the first, one product with A^T each, so
/// that no map is stored. `without_sink` takes rows renormalised over the keys after the first token p:
/// A_ij / (1 - A_ip) for j > p, which shows what the sink holds back.
/// Source: Why do LLMs attend to the first token?
class MixingSpread {
 public:
  MixingSpread(std::int64_t num_tokens, std::int64_t first);

  /// Layers from the last to the first; every row of every head once, then end_layer().
  void add_row(std::int64_t row, kernels::KeyRange keys, std::span<const float> attn_j);
  void end_layer(int num_heads);

  std::vector<double> with_sink() const;     ///< [N]
  std::vector<double> without_sink() const;  ///< [N], 0 at p

 private:
  struct Chain {
    std::vector<double> sums, next, diagonal, next_diagonal;  // 1^T R so far; diagonal of R so far
    std::vector<double> spread() const;
  };
  static void finish(Chain& chain, int num_heads);

  std::int64_t first_ = 0;
  Chain all_, rest_;
};

/// Distance of hidden states from their mean over tokens, mu = |X - 1 xbar^T|_F, and mu / |X|_F in [0, 1]. 0 = all
/// tokens are the same: the representation has collapsed. @param x_td  [tokens][dims]
struct RankCollapse {
  double mu = 0.0, relative = 0.0;
};
RankCollapse rank_collapse(std::span<const float> x_td, int num_dims);

/// |x'_t - x_t| of every token; shows how far a change of one token is felt. [tokens]. @param x_td, y_td [tokens][dims]
std::vector<double> state_distance(std::span<const float> x_td, std::span<const float> y_td, int num_dims);

}  // namespace headlight::analysis
