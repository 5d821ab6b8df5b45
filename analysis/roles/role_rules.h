#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/roles/head_samples.h"

namespace headlight::analysis {

/// Smallest score that makes a head's label.
struct RoleThresholds {
  double retrieval = 0.1;  ///< raised to retrieval_threshold() for short needles
  double induction = 0.4, duplicate = 0.4, previous = 0.4, positional = 0.4, current = 0.4;
  double sink = 0.5, semantic = 0.3, local = 0.9, broad = 0.9;
  double dead = 1e-4;  ///< largest output share of a head that counts as dead
};

struct HeadRole {
  std::string primary;
  std::vector<std::string> labels;  ///< the primary one, every other role whose threshold is met, and modifiers
};

/// Labels of every head from its scores (by id; what is missing or NaN labels nothing). The primary label is the first
/// that fits of
///
///     retrieval, induction, duplicate, previous, positional, current, sink, semantic-retrieval, local, broad
///
/// else "mixed". Pattern roles come before semantic-retrieval because an exact duplicate-token head puts its mass on
/// the needle as well; duplicate comes before current because it shares its mass with the token itself. Modifiers:
/// dead, windowed (the layer has a sliding window), receiver, tracker-important, active-dormant, name-mover,
/// negative-name-mover, from scores of these ids that are positive.
std::vector<HeadRole> assign_roles(const std::map<std::string, HeadValues>& scores, std::span<const double> windowed_h,
                                   const RoleThresholds& thresholds = {});

/// Policy of every KV head, [L][G]: "full" where a reader has retrieval >= threshold or induction >= threshold, else
/// "stream".
std::vector<std::string> streaming_policy(const std::map<std::string, HeadValues>& scores, int num_layers,
                                          int num_heads, int num_kv_heads, const RoleThresholds& thresholds = {});

}  // namespace headlight::analysis
