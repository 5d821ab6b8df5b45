#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

struct ColumnMeanOptions {
  bool exclude_self = false;  ///< leave the diagonal A_kk out: (c_k alpha(k) - A_kk) / (c_k - 1)
  std::int64_t min_rows = 1;  ///< keys seen by fewer rows are undefined
};

/// Importance score of every key, the mean attention it receives from the rows that see it:
///
///     alpha(k) = (1 / c_k) sum_{i sees k} A_ik          (causal: c_k = N - k; window w: c_k = min(N - k, w))
///
/// Range [0, 1]; sum_k c_k alpha(k) = number of valid rows, less the learned sink's mass.
/// Source: When Attention Sink Emerges in Language Models: An Empirical View.
/// @param received_hj  sum_i A_ij, [heads][N];  @param diagonal_hj  A_jj, [heads][N], used with exclude_self
/// @return [heads][N], NaN = undefined
std::vector<double> column_means(std::span<const float> received_hj, std::span<const float> diagonal_hj,
                                 const capture::LayerGeometry& geometry, const ColumnMeanOptions& options = {});

/// alpha of the first token p over the first `max_rows` rows of the text only, from the row statistic
/// `first` = A_ip: the mean over rows that see p. 0 = all rows. [heads], NaN when no row is left.
std::vector<double> first_token_means(std::span<const float> first_hi, const capture::LayerGeometry& geometry,
                                      std::int64_t max_rows, bool exclude_self = false);

/// Share of heads that are sinks, in per cent: 100 mean[ alpha > epsilon ] over the defined values. Strictly above,
/// with 1e-6 of tolerance for rounding; NaN when nothing is defined.
double sink_rate(std::span<const double> alpha, double epsilon);

}  // namespace headlight::analysis
