#include "app/cli/compare_plans.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "analysis/compare/plan_drift.h"

namespace headlight::cli {
namespace {

using analysis::PlanDrift;

Json number(double value) {
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

std::string role_name(const std::string& role) {
  return role.empty() ? "none" : role;
}

Json to_json(const PlanDrift& drift) {
  Json scores = Json::array(), changes = Json::array();
  for (const auto& score : drift.scores)
    scores.push_back({{"id", score.id},
                      {"heads", score.heads},
                      {"rank_correlation", number(score.rank_correlation)},
                      {"mean_abs", number(score.mean_abs)},
                      {"top_overlap", number(score.top_overlap)},
                      {"most_moved", heads::to_string(score.most_moved)},
                      {"from", score.from},
                      {"to", score.to}});
  for (const auto& change : drift.changes)
    changes.push_back({{"head", heads::to_string(change.head)}, {"from", change.from}, {"to", change.to}});
  return {{"scores", scores},
          {"missing", drift.missing},
          {"agreement", number(drift.agreement)},
          {"labelled", drift.labelled},
          {"changes", changes}};
}

std::string to_text(const PlanDrift& drift, int top) {
  std::string text = fmt::format("{:<22} {:>6} {:>9} {:>9} {:>8}  {}\n", "score", "heads", "rank corr", "mean |d|",
                                 "top 10 %", "moved most");
  for (const auto& score : drift.scores)
    text += fmt::format("{:<22} {:>6} {:>9.3f} {:>9.3g} {:>8.2f}  {} {:.3f} -> {:.3f}\n", score.id, score.heads,
                        score.rank_correlation, score.mean_abs, score.top_overlap, heads::to_string(score.most_moved),
                        score.from, score.to);
  if (!drift.missing.empty()) text += fmt::format("only in one plan: {}\n", fmt::join(drift.missing, ", "));
  if (std::isnan(drift.agreement)) return text + "roles: not in both plans\n";
  text += fmt::format("\nprimary role: the same for {:.1f} % of heads, changed for {} of {} labelled ones\n",
                      100.0 * drift.agreement, drift.changes.size(), drift.labelled);
  const auto shown = std::min(drift.changes.size(), static_cast<std::size_t>(top));
  for (std::size_t k = 0; k < shown; ++k)
    text += fmt::format("{:>8}  {} -> {}\n", heads::to_string(drift.changes[k].head), role_name(drift.changes[k].from),
                        role_name(drift.changes[k].to));
  if (shown < drift.changes.size()) text += fmt::format("          and {} more\n", drift.changes.size() - shown);
  return text;
}

}  // namespace

void compare_plans(Invocation& invocation, const std::string& a, const std::string& b, int top) {
  const auto drift = analysis::plan_drift(heads::load_headplan(a), heads::load_headplan(b));
  if (invocation.json)
    print_json(invocation, {a, b}, to_json(drift));
  else
    print_text(to_text(drift, top));
}

}  // namespace headlight::cli
