#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// What the causal mask alone teaches about positions. From the mean scores of a layer over heads and texts, S[i,j] for
/// j <= i, the part that depends on the distance only is removed:
///
///     R[i,j] = S[i,j] - mean over the diagonal i - j = const
///
/// What is left depends on the absolute position. eta = Var(R) / Var(S) over the lower triangle; slope = regression of
/// S on the distance i - j (below 0: near tokens are preferred).
/// Source: Behind RoPE: How Does Causal Mask Encode Positional Information?
/// @param scores_ij  [N][N] row-major, entries above the diagonal are not looked at
struct CausalPattern {
  double eta = 0.0, slope = 0.0;    ///< NaN when all scores are equal
  std::vector<double> residual_ij;  ///< R, NaN above the diagonal, [N][N]
};
/// @param skip_first  leave column 0 out: it is the sink, whatever the mask teaches
CausalPattern causal_pattern(std::span<const double> scores_ij, std::int64_t num_tokens, bool skip_first = false);

/// A layer without parameters, x <- softmax(causal x x^T) x + x on rows scaled to length 1; @param x_td [N][dims]
void parameter_free_layer(std::vector<double>& x_td, int num_dims);

}  // namespace headlight::analysis
