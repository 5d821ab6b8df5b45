#include "app/cli/head_selection.h"

#include <algorithm>
#include <cmath>

#include <CLI/CLI.hpp>

#include "core/heads/headplan.h"

namespace headlight::cli {
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

void add_head_options(CLI::App& app, HeadOptions& options, const std::string& help, const std::string& group) {
  app.add_option("--heads", options.heads, help)->type_name("HEADS")->group(group);
  app.add_option("--headplan", options.headplan, "Scores, roles and sets that --heads may name")
      ->type_name("FILE.json")
      ->group(group);
}

heads::HeadFacts model_head_facts(const heads::HeadGrid& grid, const std::vector<int>& layers,
                                  const std::string& headplan) {
  heads::HeadFacts facts;
  facts.grid = grid;
  facts.layer_known.assign(static_cast<std::size_t>(grid.num_layers), 0);
  for (const int layer : layers) facts.layer_known[static_cast<std::size_t>(layer)] = 1;
  if (!headplan.empty()) heads::add_headplan(facts, heads::load_headplan(headplan));
  return facts;
}

heads::HeadFacts capture_head_facts(const capture::CaptureView& view, const std::string& headplan) {
  const auto& header = view.header();
  const heads::HeadGrid grid{header.model.num_layers, header.model.num_heads, header.model.num_kv_heads};
  heads::HeadFacts facts = model_head_facts(grid, header.plan.layers, {});
  for (const std::string& id : view.available_statistics(0))
    if (id != "jmax") facts.metrics.push_back(id);  // a mean of positions means nothing
  facts.metric = [&view](std::string_view id) { return statistic_of_heads(view, id); };
  if (!headplan.empty()) heads::add_headplan(facts, heads::load_headplan(headplan));
  return facts;
}

std::vector<std::uint8_t> select_heads(const HeadOptions& options, const heads::HeadFacts& facts,
                                       const std::vector<int>& layers) {
  const heads::HeadMask mask = heads::parse_heads(options.heads, facts, "--heads");
  std::vector<std::uint8_t> selected;
  for (const int layer : layers) {
    const auto begin = mask.begin() + static_cast<std::ptrdiff_t>(facts.grid.index({layer, 0}));
    selected.insert(selected.end(), begin, begin + facts.grid.num_heads);
  }
  return selected;
}

}  // namespace headlight::cli
