#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// Running statistics of one row while its scores arrive in tiles, in O(1) memory. With m = max s so far,
///
///     Z = sum exp(s - m),  U = sum (s - m) exp(s - m),  P = sum exp(2 (s - m))
///     lse = m + ln Z,   H = ln Z - U / Z,   sum A^2 = P / Z^2,   pmax = 1 / Z
///
/// Both terms of H are >= 0, so nothing cancels. The same for any tiling and order up to rounding.
class OnlineEntropy {
 public:
  void add(std::span<const double> score_j);  ///< scores of visible keys only
  void merge(const OnlineEntropy& other);     ///< as if the other's scores had been added

  double lse() const;
  double entropy() const;      ///< nats; 0 without scores
  double sum_squares() const;  ///< sum A^2
  double pmax() const;

 private:
  void rescale(double maximum);
  double max_ = -1.0 / 0.0, z_ = 0.0, u_ = 0.0, p_ = 0.0;
};

/// Entropy of a row of weights, -sum a ln(a + epsilon), nats. epsilon = 0 is exact (0 ln 0 = 0); released programs add
/// 1e-10 (CAKE, ARKV), 1e-9 (Entropy-Guided Attention), 1e-8 (BYE), which lowers it by at most n epsilon.
double row_entropy(std::span<const double> attn_j, double epsilon = 0.0);

/// How entropy is made comparable between rows.
enum class EntropyNorm {
  visible,  ///< / ln n_i, the keys the row sees (and the learned sink); undefined for one outcome
  context,  ///< / ln N, the length of the text: early rows look collapsed
  none,     ///< nats
};

/// Spread of one head's row entropies.
struct EntropySummary {
  double mean = 0.0, deviation = 0.0;  ///< over rows for which the value is defined; NaN when none is
  std::array<double, 5> quantiles{};   ///< 0.05, 0.25, 0.5, 0.75, 0.95: upper edges of 64 equal bins of [0, maximum]
};

/// Entropies of one head normalised, [N], NaN = undefined. @param entropy_i  nats, [N]
std::vector<double> normalized_entropy(std::span<const float> entropy_i, const capture::LayerGeometry& geometry,
                                       EntropyNorm norm);

/// @param maximum  of the values: 1 when normalised, else ln of the largest number of outcomes
EntropySummary summarize_entropy(std::span<const double> value_i, double maximum);

/// Entropy after the weight of the first token is scaled by gamma and the row renormalised:
///
///     S = 1 - a + gamma a,   H' = [ -gamma a ln(gamma a) + H + a ln a ] / S + ln S,   a = A_i,first
double entropy_after_scaling(double entropy, double first_weight, double gamma);

}  // namespace headlight::analysis
