#include "analysis/sinks/epsilon_sink.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {

std::vector<double> column_means(std::span<const float> received_hj, std::span<const float> diagonal_hj,
                                 const capture::LayerGeometry& geometry, const ColumnMeanOptions& options) {
  const auto width = static_cast<std::size_t>(geometry.num_rows);
  HEADLIGHT_CHECK(!options.exclude_self || diagonal_hj.size() == received_hj.size());
  std::vector<double> alpha(received_hj.size(), kUndefined);
  for (std::size_t at = 0; at < alpha.size(); ++at) {
    const std::int64_t rows = geometry.visible_rows(static_cast<std::int64_t>(at % width));
    const std::int64_t counted = rows - (options.exclude_self ? 1 : 0);
    if (rows < options.min_rows || counted < 1) continue;
    const double own = options.exclude_self ? static_cast<double>(diagonal_hj[at]) : 0.0;
    alpha[at] = (static_cast<double>(received_hj[at]) - own) / static_cast<double>(counted);
  }
  return alpha;
}

std::vector<double> first_token_means(std::span<const float> first_hi, const capture::LayerGeometry& geometry,
                                      std::int64_t max_rows, bool exclude_self) {
  const std::int64_t width = geometry.num_rows, first = geometry.mask.first_key;
  const std::int64_t end = max_rows > 0 ? std::min(width, first + max_rows) : width;
  std::vector<double> alpha(first_hi.size() / static_cast<std::size_t>(width), kUndefined);
  for (std::size_t h = 0; h < alpha.size(); ++h) {
    double sum = 0.0;
    std::int64_t count = 0;
    for (std::int64_t i = first + (exclude_self ? 1 : 0); i < end; ++i) {
      const kernels::KeyRange keys = geometry.mask.visible(i, width);
      const float value = first_hi[h * static_cast<std::size_t>(width) + static_cast<std::size_t>(i)];
      if (keys.size() == 0 || keys.begin > first || std::isnan(value)) continue;
      sum += value;
      ++count;
    }
    if (count > 0) alpha[h] = sum / static_cast<double>(count);
  }
  return alpha;
}

double sink_rate(std::span<const double> alpha, double epsilon) {
  constexpr double kRounding = 1e-6;
  std::int64_t sinks = 0, defined = 0;
  for (const double value : alpha) {
    if (std::isnan(value)) continue;
    ++defined;
    sinks += value > epsilon + kRounding ? 1 : 0;
  }
  return defined > 0 ? 100.0 * static_cast<double>(sinks) / static_cast<double>(defined) : kUndefined;
}

}  // namespace headlight::analysis
