#include "analysis/roles/role_rules.h"

#include <algorithm>
#include <cmath>

namespace headlight::analysis {
namespace {

using Scores = std::map<std::string, HeadValues>;

struct Rule {
  std::string_view role, score;
  double RoleThresholds::*threshold;
};

/// In order of precedence.
constexpr Rule kRules[] = {
    {"retrieval", "retrieval", &RoleThresholds::retrieval},
    {"induction", "induction", &RoleThresholds::induction},
    {"duplicate", "duplicate-token", &RoleThresholds::duplicate},
    {"previous", "previous-token", &RoleThresholds::previous},
    {"positional", "positional", &RoleThresholds::positional},
    {"current", "current-token", &RoleThresholds::current},
    {"sink", "first-token", &RoleThresholds::sink},
    {"semantic-retrieval", "semantic-retrieval", &RoleThresholds::semantic},
    {"local", "local-16", &RoleThresholds::local},
    {"broad", "entropy-share", &RoleThresholds::broad},
};
/// Modifier and the score that switches it on.
constexpr std::pair<std::string_view, std::string_view> kModifiers[] = {{"receiver", "receiver"},
                                                                        {"tracker-important", "tracker-margin"},
                                                                        {"active-dormant", "active-dormant"},
                                                                        {"name-mover", "name-mover"},
                                                                        {"negative-name-mover", "negative-name-mover"}};

bool reaches(const Scores& scores, std::string_view id, std::size_t h, double threshold) {
  const auto found = scores.find(std::string(id));
  return found != scores.end() && !found->second.empty() && found->second[h] >= threshold;  // false for NaN
}

}  // namespace

std::vector<HeadRole> assign_roles(const Scores& scores, std::span<const double> windowed_h,
                                   const RoleThresholds& thresholds) {
  std::vector<HeadRole> roles(windowed_h.size());
  for (std::size_t h = 0; h < roles.size(); ++h) {
    HeadRole& role = roles[h];
    for (const Rule& rule : kRules)
      if (reaches(scores, rule.score, h, thresholds.*rule.threshold)) role.labels.emplace_back(rule.role);
    role.primary = role.labels.empty() ? "mixed" : role.labels.front();
    if (role.labels.empty()) role.labels.emplace_back("mixed");
    if (const auto output = scores.find("output-share"); output != scores.end() && output->second[h] < thresholds.dead)
      role.labels.emplace_back("dead");
    if (windowed_h[h] > 0) role.labels.emplace_back("windowed");
    for (const auto& [label, id] : kModifiers)
      if (reaches(scores, id, h, 1e-12)) role.labels.emplace_back(label);
  }
  return roles;
}

std::vector<std::string> streaming_policy(const Scores& scores, int num_layers, int num_heads, int num_kv_heads,
                                          const RoleThresholds& thresholds) {
  const auto readers = static_cast<std::size_t>(num_heads / num_kv_heads);
  std::vector<std::string> policy;
  for (std::size_t kv = 0; kv < static_cast<std::size_t>(num_layers * num_kv_heads); ++kv) {
    bool full = false;
    for (std::size_t h = kv * readers; h < (kv + 1) * readers; ++h)
      full = full || reaches(scores, "retrieval", h, thresholds.retrieval) ||
             reaches(scores, "induction", h, thresholds.induction);
    policy.emplace_back(full ? "full" : "stream");
  }
  return policy;
}

}  // namespace headlight::analysis
