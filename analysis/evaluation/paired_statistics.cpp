#include "analysis/evaluation/paired_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {

McNemar mcnemar(std::int64_t lost, std::int64_t gained) {
  McNemar found{.lost = lost, .gained = gained, .p = 1.0};
  const auto n = static_cast<double>(lost + gained);
  double tail = 0.0;  // P(X <= min), by logarithms of binomial coefficients
  for (std::int64_t k = 0; k <= std::min(lost, gained); ++k) {
    const auto x = static_cast<double>(k);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) - n * std::log(2.0));
  }
  found.p = std::min(1.0, 2.0 * tail);
  return found;
}

McNemar mcnemar(std::span<const std::uint8_t> before, std::span<const std::uint8_t> after) {
  HEADLIGHT_CHECK(before.size() == after.size());
  std::int64_t lost = 0, gained = 0;
  for (std::size_t k = 0; k < before.size(); ++k) {
    lost += before[k] != 0 && after[k] == 0;
    gained += before[k] == 0 && after[k] != 0;
  }
  return mcnemar(lost, gained);
}

Interval paired_difference(std::span<const double> before, std::span<const double> after, std::uint64_t seed,
                           int resamples) {
  HEADLIGHT_CHECK(before.size() == after.size());
  std::vector<double> difference(before.size());
  for (std::size_t k = 0; k < before.size(); ++k) difference[k] = after[k] - before[k];
  return bootstrap_mean(difference, seed, resamples);
}

std::vector<double> benjamini_hochberg(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> q(p.size());
  double smallest = 1.0;
  for (std::size_t k = order.size(); k-- > 0;) {
    smallest = std::min(smallest, p[order[k]] * static_cast<double>(p.size()) / static_cast<double>(k + 1));
    q[order[k]] = smallest;
  }
  return q;
}

double pairs_needed(double discordant, double delta) {
  return 7.85 * discordant / (delta * delta);
}

double percentile_among(double value, std::span<const double> others) {
  if (others.empty()) return kUndefined;
  double below = 0.0;
  for (const double other : others) below += other < value ? 1.0 : other == value ? 0.5 : 0.0;
  return below / static_cast<double>(others.size());
}

}  // namespace headlight::analysis
