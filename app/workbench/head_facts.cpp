#include "app/workbench/head_facts.h"

#include <cmath>

#include "core/capture/statistics.h"

namespace headlight::workbench {
namespace {

/// Mean over records, spread over the layers of the model; NaN where nothing is recorded.
std::vector<double> statistic_of_heads(const capture::CaptureView& view, std::string_view id) {
  const auto& header = view.header();
  const auto heads = static_cast<std::size_t>(header.model.num_heads);
  std::vector<double> sum(static_cast<std::size_t>(header.model.num_layers) * heads, 0.0), count(sum.size(), 0.0);
  for (std::int64_t r = 0; r < view.num_records(); ++r) {
    const Buffer<float> values_lh = view.head_statistic(r, id);
    for (std::size_t at = 0; at < values_lh.size(); ++at) {
      if (std::isnan(values_lh[at])) continue;
      const std::size_t to = static_cast<std::size_t>(header.plan.layers[at / heads]) * heads + at % heads;
      sum[to] += values_lh[at];
      count[to] += 1.0;
    }
  }
  for (std::size_t at = 0; at < sum.size(); ++at) sum[at] = count[at] > 0 ? sum[at] / count[at] : std::nan("");
  return sum;
}

}  // namespace

heads::HeadFacts model_head_facts(const heads::HeadGrid& grid, const std::vector<int>& layers) {
  heads::HeadFacts facts;
  facts.grid = grid;
  facts.layer_known.assign(static_cast<std::size_t>(grid.num_layers), 0);
  for (const int layer : layers) facts.layer_known[static_cast<std::size_t>(layer)] = 1;
  return facts;
}

heads::HeadFacts capture_head_facts(const capture::CaptureView& view) {
  const auto& header = view.header();
  heads::HeadFacts facts = model_head_facts(
      {header.model.num_layers, header.model.num_heads, header.model.num_kv_heads}, header.plan.layers);
  for (const std::string& id : view.available_statistics(0))
    if (capture::require_statistic(id).id != "jmax") facts.metrics.push_back(id);  // a mean of positions means nothing
  facts.metric = [&view](std::string_view id) { return statistic_of_heads(view, id); };
  return facts;
}

}  // namespace headlight::workbench
