#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Ranks 1..n, the smallest value first; ties share the mean of their ranks.
std::vector<double> average_ranks(std::span<const double> values);

/// Linear correlation, in [-1, 1]; NaN when either side is constant or there are fewer than 2 values.
double pearson(std::span<const double> a, std::span<const double> b);

/// Pearson correlation of average ranks; NaN as pearson().
double spearman(std::span<const double> a, std::span<const double> b);

/// Kendall's tau-b: (concordant - discordant) / sqrt((n0 - ties_a)(n0 - ties_b)), n0 = n(n-1)/2. NaN as pearson().
double kendall(std::span<const double> a, std::span<const double> b);

/// Probability that a positive example scores above a negative one, ties counting half; NaN with one class only.
/// @param label  0 or 1
double roc_auc(std::span<const double> score, std::span<const int> label);

struct RocPoint {
  double threshold;            ///< examples with score >= threshold are called positive
  double false_positive_rate;  ///< in [0, 1]
  double true_positive_rate;   ///< in [0, 1]
};
/// From (0, 0) to (1, 1), one point per distinct score, thresholds falling.
std::vector<RocPoint> roc_curve(std::span<const double> score, std::span<const int> label);

/// Normalised discounted cumulative gain of the first k places: sum (2^rel - 1) / log2(place + 1), over the same of the
/// ideal order. NaN without a relevant item.
/// @param relevance  graded relevance in ranked order, >= 0
double ndcg(std::span<const double> relevance, std::int64_t k);

/// Mean over classes (that occur in either list) of F1 = 2 TP / (2 TP + FP + FN).
double macro_f1(std::span<const int> truth, std::span<const int> predicted);

struct Interval {
  double mean = 0.0, low = 0.0, high = 0.0;
};
/// Mean with its bootstrap percentile interval (2.5 % .. 97.5 %).
Interval bootstrap_mean(std::span<const double> values, std::uint64_t seed, int rounds = 1000);

/// Indices of the k largest values, ties by the smaller index; at most as many as there are, NaN left out.
std::vector<std::int64_t> largest(std::span<const double> values, std::int64_t k);

}  // namespace headlight::analysis
