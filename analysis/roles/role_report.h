#pragma once

#include <map>
#include <string>
#include <vector>

#include "analysis/roles/experiment.h"
#include "analysis/roles/role_rules.h"
#include "core/heads/headplan.h"

namespace headlight::analysis {

/// What one experiment found, sample by sample.
struct ExperimentSamples {
  const Experiment* experiment = nullptr;
  std::vector<HeadSample> samples;
  double seconds = 0;
};

/// Puts what experiments found into a headplan: a score with its interval for every ScoreInfo, roles by the rules of
/// assign_roles(), a policy for KV heads, and under "experiments" the number of samples, what was counted, and how
/// stable the ranking of heads is between groups.
/// @param windowed_h  sliding window of every head's layer, [L][H]; 0 = none
void add_roles(heads::Headplan& plan, std::span<const ExperimentSamples> found, const RoleInputs& inputs,
               const capture::ModelInfo& model, std::span<const double> windowed_h);

/// The head with the largest values of a score, with the interval.
struct RankedHead {
  heads::HeadId id;
  double value = 0, low = 0, high = 0;
};
std::vector<RankedHead> strongest(const heads::Headplan& plan, std::string_view score, std::size_t count);

/// Heads per primary role, most frequent first.
std::vector<std::pair<std::string, int>> count_roles(const heads::Headplan& plan);

}  // namespace headlight::analysis
