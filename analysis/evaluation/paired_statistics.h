#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analysis/learning/ranking.h"

namespace headlight::analysis {

/// Two classifiers on the same items.
struct McNemar {
  std::int64_t lost = 0;    ///< right before, wrong after
  std::int64_t gained = 0;  ///< wrong before, right after
  double p = 1.0;           ///< exact, two-sided: min(1, 2 P(X <= min(lost, gained))), X ~ Binomial(lost + gained, 1/2)
};
/// @param before, after  1 = right; equal lengths
/// @see Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages
McNemar mcnemar(std::span<const std::uint8_t> before, std::span<const std::uint8_t> after);
McNemar mcnemar(std::int64_t lost, std::int64_t gained);

/// Mean of after - before with the middle 95 % of the means of resampled pairs.
/// @see Bootstrap Methods: Another Look at the Jackknife
Interval paired_difference(std::span<const double> before, std::span<const double> after, std::uint64_t seed,
                           int resamples = 10000);

/// P values that hold for all comparisons of a family together: q_(k) = min over j >= k of p_(j) m / j, at most 1.
/// Rejecting where q <= a keeps the expected share of false rejections at a. In the order of the input.
/// @see Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing
std::vector<double> benjamini_hochberg(std::span<const double> p);

/// Pairs that are needed to see a difference of two accuracies with 80 % power at 5 %: 7.85 q / delta^2.
/// @param discordant  q, share of pairs of which one is right and one is wrong
double pairs_needed(double discordant, double delta);

/// Share of `others` below the value, equal ones counting half, in [0, 1]. NaN without others.
double percentile_among(double value, std::span<const double> others);

}  // namespace headlight::analysis
