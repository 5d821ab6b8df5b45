#pragma once

#include <string>
#include <vector>

#include "core/heads/headplan.h"

namespace headlight::analysis {

/// How one score moved between two head plans, over the heads where both define it.
struct ScoreDrift {
  std::string id;
  std::int64_t heads = 0;    ///< heads compared
  double rank_correlation;   ///< Spearman, in [-1, 1]; NaN when a side is constant
  double mean_abs = 0;       ///< mean |B - A|
  double top_overlap = 0;    ///< share of A's strongest tenth (at least one head) that is in B's, in [0, 1]
  heads::HeadId most_moved;  ///< head of the largest |B - A|
  double from = 0, to = 0;   ///< its two values
};

/// A head whose primary role is not the same in both plans. "" = none.
struct RoleChange {
  heads::HeadId head;
  std::string from, to;
};

/// Drift of roles between two plans of one architecture: models, quantisations, prompts, lengths.
struct PlanDrift {
  std::vector<ScoreDrift> scores;    ///< of the ids that both plans hold, in A's order
  std::vector<std::string> missing;  ///< scores that only one plan holds
  std::vector<RoleChange> changes;   ///< after overrides; empty when a plan has no roles
  std::int64_t labelled = 0;         ///< heads with a primary role in A or B
  double agreement = 0;              ///< share of all heads with the same primary role, in [0, 1]; NaN without roles
};

/// @error invalid_argument  plans of models with other numbers of layers or heads
PlanDrift plan_drift(const heads::Headplan& a, const heads::Headplan& b);

}  // namespace headlight::analysis
