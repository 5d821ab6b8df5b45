#include "analysis/entropy/concentration.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace headlight::analysis {

Concentration concentration(std::span<const float> attn_j, const ConcentrationOptions& options) {
  Concentration out;
  std::vector<float> sorted(attn_j.begin(), attn_j.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<float>());
  const auto n = static_cast<double>(sorted.size());
  double mass = 0.0, squares = 0.0, entropy = 0.0, ranked = 0.0;
  std::vector<double> cumulative(sorted.size() + 1, 0.0);
  for (std::size_t r = 0; r < sorted.size(); ++r) {
    const double p = sorted[r];
    mass += p;
    squares += p * p;
    entropy -= p > 0 ? p * std::log(p) : 0.0;
    ranked += (n - 1.0 - 2.0 * static_cast<double>(r)) * p;  // descending: rank n - r of n
    cumulative[r + 1] = mass;
  }
  out.pmax = sorted.empty() ? 0.0 : static_cast<double>(sorted.front());
  out.effective_support = std::exp(entropy);
  out.participation = squares > 0 ? 1.0 / squares : 0.0;
  out.gini = mass > 0 ? ranked / (n * mass) : 0.0;
  const auto top = [&](std::size_t k) { return cumulative[std::min(k, sorted.size())]; };
  for (const std::int64_t k : options.counts) out.top_mass.push_back(top(static_cast<std::size_t>(k)));
  for (const double share : options.shares)
    out.top_share_mass.push_back(top(static_cast<std::size_t>(std::ceil(share * n))));
  for (const double level : options.levels) {
    const auto found =
        std::lower_bound(cumulative.begin(), cumulative.end(), level - 1e-6);  // f32 rows sum to 1 - 1e-6
    out.coverage.push_back(found - cumulative.begin());
  }
  return out;
}

void WeightHistogram::add(std::span<const float> attn_j) {
  for (const float attn : attn_j) {
    const double bin = attn > 0.0f ? std::floor(-4.0 * std::log2(static_cast<double>(attn))) : kBins - 1.0;
    const auto b = static_cast<std::size_t>(std::clamp(bin, 0.0, kBins - 1.0));
    count_[b] += 1.0;
    mass_[b] += static_cast<double>(attn);
  }
}

double WeightHistogram::total_mass() const {
  double sum = 0.0;
  for (const double mass : mass_) sum += mass;
  return sum;
}

double WeightHistogram::coverage(double level) const {
  const double wanted = level * total_mass();
  double count = 0.0, mass = 0.0;
  for (std::size_t b = 0; b < kBins; ++b) {
    if (mass + mass_[b] >= wanted && mass_[b] > 0)  // the share of the bin that is needed, its weights taken as equal
      return count + std::ceil(count_[b] * (wanted - mass) / mass_[b] - 1e-9);
    mass += mass_[b];
    count += count_[b];
  }
  return count;
}

double WeightHistogram::gini() const {
  double count = 0.0;
  for (const double c : count_) count += c;
  const double mass = total_mass();
  if (count == 0.0 || mass <= 0.0) return 0.0;
  double area = 0.0, below = 0.0;  // under the Lorenz curve, from the smallest weights up
  for (std::size_t b = kBins; b-- > 0;) {
    area += count_[b] / count * (below + 0.5 * mass_[b] / mass);
    below += mass_[b] / mass;
  }
  return 1.0 - 2.0 * area;
}

double WeightHistogram::gini_error() const {
  const double inside = (std::exp2(0.125) - 1.0) / (std::exp2(0.125) + 1.0);
  double count = 0.0, error = 0.0;
  for (const double c : count_) count += c;
  const double mass = total_mass();
  if (count == 0.0 || mass <= 0.0) return 0.0;
  for (std::size_t b = 0; b < kBins; ++b)
    error += count_[b] / count * mass_[b] / mass * (b + 1 < kBins ? inside : 1.0);  // the rest bin is unbounded
  return error;
}

}  // namespace headlight::analysis
