#include "analysis/entropy/layer_preference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace headlight::analysis {
namespace {

/// Mean and central moments (divided by the number of rows) of every column.
struct ColumnMoments {
  ColumnMoments(std::span<const float> attn_ij, std::int64_t num_keys)
      : rows(num_keys > 0 ? std::ssize(attn_ij) / num_keys : 0),
        mean(static_cast<std::size_t>(num_keys), 0.0),
        m2(mean.size(), 0.0),
        m4(mean.size(), 0.0) {
    const std::size_t width = mean.size();
    const auto n = static_cast<double>(rows);
    for (std::size_t at = 0; at < attn_ij.size(); at += width)
      for (std::size_t j = 0; j < width; ++j) mean[j] += static_cast<double>(attn_ij[at + j]) / n;
    for (std::size_t at = 0; at < attn_ij.size(); at += width)
      for (std::size_t j = 0; j < width; ++j) {
        const double square =
            (static_cast<double>(attn_ij[at + j]) - mean[j]) * (static_cast<double>(attn_ij[at + j]) - mean[j]);
        m2[j] += square / n;
        m4[j] += square * square / n;
      }
  }
  std::int64_t rows;
  std::vector<double> mean, m2, m4;
};

double unbiased(double m2, std::int64_t rows) {
  return rows > 1 ? m2 * static_cast<double>(rows) / static_cast<double>(rows - 1) : 0.0;
}

}  // namespace

WindowMoments window_moments(std::span<const float> attn_ij, std::int64_t num_keys) {
  constexpr double kEpsilon = 1e-10, kFloor = 1e-8;
  WindowMoments out;
  if (num_keys == 0) return out;
  for (const float attn : attn_ij)
    out.dispersion -= static_cast<double>(attn) * std::log(static_cast<double>(attn) + kEpsilon);
  const ColumnMoments columns(attn_ij, num_keys);
  for (std::size_t j = 0; j < columns.m2.size(); ++j) {
    const double floored = std::max(columns.m2[j], kFloor);
    out.shift += unbiased(columns.m2[j], columns.rows);
    out.kurtosis += columns.m4[j] / (floored * floored);
    out.clamped += columns.m2[j] < kFloor ? 1.0 / static_cast<double>(num_keys) : 0.0;
  }
  return out;
}

double cake_preference(double dispersion, double shift, double tau1, double tau2) {
  return std::pow(std::max(0.0, dispersion), 1.0 / tau1) * std::pow(std::max(0.0, shift), 1.0 / tau2);
}

double arkv_score(const WindowMoments& layer, double tau1, double tau2, double tau3) {
  return cake_preference(layer.dispersion, layer.shift, tau1, tau2) * std::pow(layer.kurtosis, 1.0 / tau3);
}

std::vector<std::int64_t> cake_budgets(std::span<const double> preference_l, std::int64_t budget, std::int64_t window,
                                       std::int64_t num_keys) {
  const auto layers = static_cast<std::int64_t>(preference_l.size());
  const std::int64_t total = std::min(std::max<std::int64_t>(0, budget - window), num_keys) * layers;
  const double sum = std::accumulate(preference_l.begin(), preference_l.end(), 0.0);
  std::vector<double> share(preference_l.size());
  for (std::size_t l = 0; l < share.size(); ++l)
    share[l] = sum > 0 ? preference_l[l] / sum * static_cast<double>(total)
                       : static_cast<double>(total) / static_cast<double>(layers);
  const auto cap = static_cast<double>(num_keys);
  for (std::size_t round = 0; round < share.size(); ++round) {  // each round fills at least one layer
    double over = 0.0;
    std::size_t open = 0;
    for (double& own : share) {
      over += std::max(0.0, own - cap);
      own = std::min(own, cap);
      open += own < cap ? 1 : 0;
    }
    if (over <= 1e-9 || open == 0) break;
    for (double& own : share)
      if (own < cap) own += over / static_cast<double>(open);
  }
  std::vector<std::int64_t> kept;
  double carried = 0.0;
  for (const double own : share) {  // what rounding takes from a layer, the next one gets
    const double wanted = std::min(own, cap) + carried;
    kept.push_back(std::clamp(static_cast<std::int64_t>(std::llround(wanted)), std::int64_t{0}, num_keys));
    carried = wanted - static_cast<double>(kept.back());
  }
  return kept;
}

std::vector<double> eviction_indicator(std::span<const float> attn_ij, std::int64_t num_keys, double gamma) {
  const ColumnMoments columns(attn_ij, num_keys);
  std::vector<double> indicator;
  for (std::size_t j = 0; j < columns.m2.size(); ++j)
    indicator.push_back(columns.mean[j] + gamma * unbiased(columns.m2[j], columns.rows));
  return indicator;
}

std::vector<double> average_pool(std::span<const double> values, int width) {
  HEADLIGHT_CHECK(width > 0);
  std::vector<double> pooled(values.size(), 0.0);
  for (std::int64_t j = 0; j < std::ssize(values); ++j)
    for (std::int64_t k = j - width / 2; k <= j + (width - 1) / 2; ++k)
      if (k >= 0 && k < std::ssize(values))
        pooled[static_cast<std::size_t>(j)] += values[static_cast<std::size_t>(k)] / width;
  return pooled;
}

}  // namespace headlight::analysis
