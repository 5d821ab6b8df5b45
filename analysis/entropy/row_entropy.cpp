#include "analysis/entropy/row_entropy.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {

void OnlineEntropy::rescale(double maximum) {
  if (z_ > 0.0) {
    const double delta = max_ - maximum, factor = std::exp(delta);
    u_ = factor * (u_ + delta * z_);  // with the old z
    z_ *= factor;
    p_ *= factor * factor;
  }
  max_ = maximum;
}

void OnlineEntropy::add(std::span<const double> score_j) {
  if (score_j.empty()) return;
  const double largest = *std::max_element(score_j.begin(), score_j.end());
  if (largest > max_) rescale(largest);
  for (const double score : score_j) {
    const double shifted = score - max_, weight = std::exp(shifted);
    z_ += weight;
    u_ += shifted * weight;
    p_ += weight * weight;
  }
}

void OnlineEntropy::merge(const OnlineEntropy& other) {
  if (other.z_ == 0.0) return;
  OnlineEntropy scaled = other;
  const double maximum = std::max(max_, other.max_);
  rescale(maximum);
  scaled.rescale(maximum);
  z_ += scaled.z_;
  u_ += scaled.u_;
  p_ += scaled.p_;
}

double OnlineEntropy::lse() const {
  return z_ > 0.0 ? max_ + std::log(z_) : -kInfinity;
}
double OnlineEntropy::entropy() const {
  return z_ > 0.0 ? std::max(0.0, std::log(z_) - u_ / z_) : 0.0;
}
double OnlineEntropy::sum_squares() const {
  return z_ > 0.0 ? p_ / (z_ * z_) : 0.0;
}
double OnlineEntropy::pmax() const {
  return z_ > 0.0 ? 1.0 / z_ : 0.0;
}

double row_entropy(std::span<const double> attn_j, double epsilon) {
  double entropy = 0.0;
  for (const double attn : attn_j)
    if (attn > 0.0) entropy -= attn * std::log(attn + epsilon);
  return entropy;
}

std::vector<double> normalized_entropy(std::span<const float> entropy_i, const capture::LayerGeometry& geometry,
                                       EntropyNorm norm) {
  std::vector<double> value_i(entropy_i.size(), kUndefined);
  const std::int64_t tokens = geometry.num_rows - geometry.mask.first_key;
  for (std::int64_t i = geometry.mask.first_key; i < std::ssize(entropy_i); ++i) {
    const std::int64_t outcomes = geometry.visible_keys(i) + (geometry.has_null_logit ? 1 : 0);
    const std::int64_t most = norm == EntropyNorm::visible ? outcomes : tokens;
    const double entropy = entropy_i[static_cast<std::size_t>(i)];
    if (norm == EntropyNorm::none)
      value_i[static_cast<std::size_t>(i)] = entropy;
    else if (most > 1)
      value_i[static_cast<std::size_t>(i)] = entropy / std::log(static_cast<double>(most));
  }
  return value_i;
}

EntropySummary summarize_entropy(std::span<const double> value_i, double maximum) {
  constexpr std::array<double, 5> kLevels = {0.05, 0.25, 0.5, 0.75, 0.95};
  constexpr int kBins = 64;
  std::array<std::int64_t, kBins> histogram{};
  double sum = 0.0, squares = 0.0;
  std::int64_t count = 0;
  for (const double value : value_i) {
    if (std::isnan(value)) continue;
    sum += value;
    ++count;
    const double share = maximum > 0 ? value / maximum : 0.0;
    ++histogram[static_cast<std::size_t>(std::clamp(static_cast<int>(share * kBins), 0, kBins - 1))];
  }
  EntropySummary summary{kUndefined, kUndefined, {kUndefined, kUndefined, kUndefined, kUndefined, kUndefined}};
  if (count == 0) return summary;
  summary.mean = sum / static_cast<double>(count);
  for (const double value : value_i)
    if (!std::isnan(value)) squares += (value - summary.mean) * (value - summary.mean);
  summary.deviation = std::sqrt(squares / static_cast<double>(count));
  for (std::size_t q = 0; q < kLevels.size(); ++q) {
    std::int64_t below = 0;
    int bin = 0;
    while (bin < kBins && static_cast<double>(below += histogram[static_cast<std::size_t>(bin)]) <
                              kLevels[q] * static_cast<double>(count))
      ++bin;
    summary.quantiles[q] = maximum * (bin + 1) / kBins;
  }
  return summary;
}

double entropy_after_scaling(double entropy, double first_weight, double gamma) {
  const double scaled = gamma * first_weight, sum = 1.0 - first_weight + scaled;
  const auto x_ln_x = [](double x) { return x > 0.0 ? x * std::log(x) : 0.0; };
  if (sum <= 0.0) return 0.0;
  // All weights scale by 1 / sum; those of the other keys keep their terms.
  const double others = entropy + x_ln_x(first_weight);
  return std::max(0.0, (-x_ln_x(scaled) + others) / sum + std::log(sum));
}

}  // namespace headlight::analysis
