#include "analysis/roles/experiment.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/closest_match.h"
#include "base/error.h"

namespace headlight::analysis {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all = {
      repeats_experiment(),     needles_experiment(),       text_experiment(),       sparse_experiment(),
      tracker_experiment(),     reading_range_experiment(), receivers_experiment(),  domains_experiment(),
      suppression_experiment(), names_experiment(),         importance_experiment(), ablation_experiment(),
      streaming_experiment()};
  return all;
}

std::vector<const Experiment*> select_experiments(std::string_view suite) {
  std::vector<const Experiment*> chosen;
  std::vector<std::string> names;
  for (const Experiment& experiment : experiments()) {
    names.emplace_back(experiment.id);
    if (suite == "full" || (suite == "default" && experiment.by_default)) chosen.push_back(&experiment);
  }
  if (!chosen.empty()) return chosen;
  for (std::size_t begin = 0; begin <= suite.size();) {
    const std::size_t end = std::min(suite.find(',', begin), suite.size());
    const std::string_view name = suite.substr(begin, end - begin);
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const std::string guess = closest_match(name, names);
      throw Error(Errc::invalid_argument,
                  fmt::format("unknown experiment '{}'{}; there are default, full, {}", name,
                              guess.empty() ? "" : fmt::format(" (did you mean {}?)", guess), fmt::join(names, ", ")));
    }
    const Experiment* experiment = &experiments()[static_cast<std::size_t>(found - names.begin())];
    if (std::find(chosen.begin(), chosen.end(), experiment) == chosen.end()) chosen.push_back(experiment);
    begin = end + 1;
  }
  return chosen;
}

}  // namespace headlight::analysis
