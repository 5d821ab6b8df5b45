#include "app/workbench/dashboard.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "analysis/findings/findings.h"

namespace headlight::workbench {

std::span<const Measure> dashboard_measures() {
  static constexpr std::array kMeasures = {Measure{"first", "First-token mass", "", 1.0},
                                           Measure{"entropy", "Entropy", "bit", 1.0 / std::numbers::ln2},
                                           Measure{"distance", "Mean distance", "token", 1.0}};
  return kMeasures;
}

std::vector<float> values_of(const CaptureDocument& document, const Measure& measure) {
  const GridStatistic* statistic = document.find_statistic(measure.id);
  if (statistic == nullptr) return {};
  std::vector<float> values = statistic->value_lh;
  for (float& value : values) value = static_cast<float>(value * measure.factor);
  return values;
}

LayerCurves layer_curves(const CaptureDocument& document, const Measure& measure) {
  const std::vector<float> values = values_of(document, measure);
  const std::vector<float> undefined(static_cast<std::size_t>(document.header().model.num_layers),
                                     std::numeric_limits<float>::quiet_NaN());
  LayerCurves curves{undefined, undefined, undefined};
  const auto heads = static_cast<std::size_t>(document.num_heads());
  for (std::size_t row = 0; row * heads < values.size(); ++row) {
    double sum = 0.0, count = 0.0;
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (std::size_t at = row * heads; at < (row + 1) * heads; ++at) {
      if (std::isnan(values[at])) continue;
      sum += values[at];
      count += 1.0;
      low = std::min(low, values[at]);
      high = std::max(high, values[at]);
    }
    if (count == 0.0) continue;
    const auto layer = static_cast<std::size_t>(document.layers()[row]);
    curves.mean_l[layer] = static_cast<float>(sum / count);
    curves.low_l[layer] = low;
    curves.high_l[layer] = high;
  }
  return curves;
}

std::vector<SinkRow> sink_rows(const CaptureDocument& base, const CaptureDocument* changed, bool shown_is_changed,
                               std::size_t most) {
  const bool both = changed != nullptr && same_tokens(base, *changed);
  const CaptureDocument& shown = shown_is_changed && changed != nullptr ? *changed : base;
  const CaptureDocument& first = both ? base : shown;
  const std::int64_t rows = first.num_tokens();
  std::vector<SinkRow> sinks;
  for (std::int64_t j = 0; j + analysis::sink_min_rows(rows) <= rows; ++j) {
    const auto at = static_cast<std::size_t>(j);
    if (std::isnan(first.received()[at])) continue;
    const auto& received = shown.received_by_tokens();
    SinkRow row{.position = j,
                .base = first.received()[at],
                .changed = {},
                .heads_above = received.heads_above[at],
                .strongest = received.strongest[at],
                .largest = received.largest[at]};
    if (both) row.changed = changed->received()[at];
    sinks.push_back(row);
  }
  const auto mass = [](const SinkRow& row) { return std::max(row.base, row.changed.value_or(0.0f)); };
  std::stable_sort(sinks.begin(), sinks.end(), [&](const SinkRow& a, const SinkRow& b) { return mass(a) > mass(b); });
  if (sinks.size() > most) sinks.resize(most);
  return sinks;
}

}  // namespace headlight::workbench
