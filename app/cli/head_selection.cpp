#include "app/cli/head_selection.h"

#include <CLI/CLI.hpp>

#include "app/workbench/head_facts.h"
#include "core/heads/headplan.h"

namespace headlight::cli {
void add_head_options(CLI::App& app, HeadOptions& options, const std::string& help, const std::string& group) {
  app.add_option("--heads", options.heads, help)->type_name("HEADS")->group(group);
  app.add_option("--headplan", options.headplan, "Scores, roles and sets that --heads may name")
      ->type_name("FILE.json")
      ->group(group);
}

heads::HeadFacts model_head_facts(const heads::HeadGrid& grid, const std::vector<int>& layers,
                                  const std::string& headplan) {
  heads::HeadFacts facts = workbench::model_head_facts(grid, layers);
  if (!headplan.empty()) heads::add_headplan(facts, heads::load_headplan(headplan));
  return facts;
}

heads::HeadFacts capture_head_facts(const capture::CaptureView& view, const std::string& headplan) {
  heads::HeadFacts facts = workbench::capture_head_facts(view);
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
