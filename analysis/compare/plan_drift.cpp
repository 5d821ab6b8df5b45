#include "analysis/compare/plan_drift.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/learning/ranking.h"
#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

using heads::HeadId;
using heads::Headplan;

double overlap_of_tops(const std::vector<double>& a, const std::vector<double>& b) {
  const auto count = std::max<std::int64_t>(1, std::ssize(a) / 10);
  const auto top_a = largest(a, count), top_b = largest(b, count);
  const auto shared =
      std::ranges::count_if(top_a, [&](std::int64_t index) { return std::ranges::find(top_b, index) != top_b.end(); });
  return top_a.empty() ? kUndefined : static_cast<double>(shared) / static_cast<double>(top_a.size());
}

ScoreDrift score_drift(const Headplan& plan_a, const Headplan& plan_b, const std::string& id) {
  const auto a = plan_a.score_per_head(id), b = plan_b.score_per_head(id);
  ScoreDrift out{.id = id, .rank_correlation = kUndefined, .most_moved = {}};
  std::vector<double> both_a, both_b;
  double largest_move = -1.0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (std::isnan(a[k]) || std::isnan(b[k])) continue;
    both_a.push_back(a[k]);
    both_b.push_back(b[k]);
    const double move = std::abs(b[k] - a[k]);
    out.mean_abs += move;
    if (move <= largest_move) continue;
    largest_move = move;
    const int heads_per_layer = plan_a.model.grid.num_heads;
    out.most_moved = {static_cast<int>(k) / heads_per_layer, static_cast<int>(k) % heads_per_layer};
    out.from = a[k];
    out.to = b[k];
  }
  out.heads = std::ssize(both_a);
  out.mean_abs = out.heads > 0 ? out.mean_abs / static_cast<double>(out.heads) : kUndefined;
  out.rank_correlation = spearman(both_a, both_b);
  out.top_overlap = overlap_of_tops(both_a, both_b);
  return out;
}

void compare_roles(const Headplan& a, const Headplan& b, PlanDrift& out) {
  const auto labels_a = a.effective_labels(), labels_b = b.effective_labels();
  out.agreement = kUndefined;
  if (labels_a.empty() || labels_b.empty()) return;
  std::int64_t same = 0;
  for (std::size_t k = 0; k < labels_a.size(); ++k) {
    const std::string from = labels_a[k].empty() ? "" : labels_a[k].front();
    const std::string to = labels_b[k].empty() ? "" : labels_b[k].front();
    if (!from.empty() || !to.empty()) ++out.labelled;
    if (from == to)
      ++same;
    else
      out.changes.push_back(
          {{static_cast<int>(k) / a.model.grid.num_heads, static_cast<int>(k) % a.model.grid.num_heads}, from, to});
  }
  out.agreement = static_cast<double>(same) / static_cast<double>(labels_a.size());
}

}  // namespace

PlanDrift plan_drift(const Headplan& a, const Headplan& b) {
  const auto& ga = a.model.grid;
  const auto& gb = b.model.grid;
  if (ga.num_layers != gb.num_layers || ga.num_heads != gb.num_heads)
    throw Error(Errc::invalid_argument,
                fmt::format("the plans are of different shapes: {} layers x {} heads and {} x {}", ga.num_layers,
                            ga.num_heads, gb.num_layers, gb.num_heads));
  PlanDrift out;
  for (const auto& score : a.scores)
    if (b.find_score(score.id) != nullptr)
      out.scores.push_back(score_drift(a, b, score.id));
    else
      out.missing.push_back(score.id);
  for (const auto& score : b.scores)
    if (a.find_score(score.id) == nullptr) out.missing.push_back(score.id);
  compare_roles(a, b, out);
  return out;
}

}  // namespace headlight::analysis
