#include "analysis/sinks/dormant_heads.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {

std::vector<double> dormant_rows(std::span<const float> first_hi, const capture::LayerGeometry& geometry,
                                 double threshold) {
  const std::int64_t width = geometry.num_rows, first = geometry.mask.first_key;
  std::vector<double> share_h;
  for (std::size_t begin = 0; begin < first_hi.size(); begin += static_cast<std::size_t>(width)) {
    std::int64_t dormant = 0, count = 0;
    for (std::int64_t i = first + 1; i < width; ++i) {
      const float mass = first_hi[begin + static_cast<std::size_t>(i)];
      if (std::isnan(mass) || geometry.visible_keys(i) < 2) continue;
      ++count;
      dormant += mass > threshold ? 1 : 0;
    }
    share_h.push_back(count > 0 ? static_cast<double>(dormant) / static_cast<double>(count) : kUndefined);
  }
  return share_h;
}

std::string_view to_string(Dormancy dormancy) {
  switch (dormancy) {
    case Dormancy::undefined:
      return "undefined";
    case Dormancy::active:
      return "active";
    case Dormancy::between:
      return "between";
    case Dormancy::dormant:
      return "dormant";
  }
  return "undefined";
}

Dormancy dormancy_of(double mean_first, const DormancyOptions& options) {
  if (std::isnan(mean_first)) return Dormancy::undefined;
  if (mean_first >= options.dormant) return Dormancy::dormant;
  return mean_first <= options.active ? Dormancy::active : Dormancy::between;
}

std::vector<double> dormancy_contrast(std::span<const double> mean_dh, std::size_t num_heads) {
  std::vector<double> contrast(num_heads, kUndefined);
  for (std::size_t h = 0; h < num_heads; ++h) {
    double low = kInfinity, high = -kInfinity;
    int defined = 0;
    for (std::size_t at = h; at < mean_dh.size(); at += num_heads) {
      if (std::isnan(mean_dh[at])) continue;
      low = std::min(low, mean_dh[at]);
      high = std::max(high, mean_dh[at]);
      ++defined;
    }
    if (defined > 1) contrast[h] = high - low;
  }
  return contrast;
}

ColumnEntropy::ColumnEntropy(const capture::LayerGeometry& geometry)
    : geometry_(geometry),
      mass_(static_cast<std::size_t>(geometry.num_rows), 0.0),
      mass_log_(mass_.size(), 0.0),
      rows_(mass_.size(), 0.0) {}

void ColumnEntropy::add_row(kernels::KeyRange keys, std::span<const float> attn_j) {
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double attn = attn_j[static_cast<std::size_t>(j - keys.begin)];
    const auto at = static_cast<std::size_t>(j);
    mass_[at] += attn;
    mass_log_[at] += attn > 0 ? attn * std::log(attn) : 0.0;
    rows_[at] += 1.0;
  }
}

std::vector<double> ColumnEntropy::normalized() const {
  std::vector<double> entropy(mass_.size(), 0.0);
  for (std::size_t j = 0; j < entropy.size(); ++j)
    if (mass_[j] > 0 && rows_[j] > 1)
      entropy[j] = std::max(0.0, (std::log(mass_[j]) - mass_log_[j] / mass_[j]) / std::log(rows_[j]));
  return entropy;
}

bool is_sink_like(double row_entropy, double column_entropy, const SinkLikeOptions& options) {
  return row_entropy < options.row_threshold && column_entropy > options.column_threshold;
}

}  // namespace headlight::analysis
