#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// Mass of a row by distance, in octaves: bin 0 = distance 0, bin b >= 1 = distances [2^(b-1), 2^b). 19 bins reach
/// 2^18.
constexpr int kDistanceBins = 19;
int distance_bin(std::int64_t distance);

/// Distances of rows of one head, added up in float64.
///
///     d_i = sum_j A_ij |i - j|,   M_w(i) = sum_{|i-j| < w} A_ij
///     without the first S tokens: d_i = sum_{j >= p+S} A_ij |i - j| / sum_{j >= p+S} A_ij, left out where the
///     denominator is below 1e-3
///
/// Source: A Multiscale Visualization of Attention in the Transformer Model (mean distance).
class SpanStatistics {
 public:
  SpanStatistics(std::vector<std::int64_t> windows, std::int64_t sink_end);
  void add_row(std::int64_t row, kernels::KeyRange keys, std::span<const float> attn_j);

  double mean_distance() const;
  double relative_distance() const;           ///< mean of d_i / i over rows i >= 1
  double mean_distance_without_sink() const;  ///< NaN when no row has a rest
  std::vector<double> window_mass() const;    ///< mean M_w for each window
  std::vector<double> octaves() const;        ///< mean mass per bin, [kDistanceBins]
  /// Smallest w with mean M_w >= level, from the octaves: linear inside an octave. NaN when the mass is never reached.
  double span(double level) const;

 private:
  std::vector<std::int64_t> windows_;
  std::int64_t sink_end_ = 0;
  double rows_ = 0, distance_ = 0, relative_rows_ = 0, relative_ = 0, rest_rows_ = 0, rest_distance_ = 0;
  std::vector<double> window_;
  std::array<double, kDistanceBins> octave_{};
};

/// How a head's window grows with the text, span(N) = alpha + beta N by least squares: beta near 0 is a local head,
/// near 1 a global one. Source: MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression.
struct ElasticSpan {
  double alpha = 0.0, beta = 0.0, r_squared = 0.0;
};
/// @return NaN with fewer than two different lengths
ElasticSpan fit_elastic_span(std::span<const double> length, std::span<const double> span);

}  // namespace headlight::analysis
