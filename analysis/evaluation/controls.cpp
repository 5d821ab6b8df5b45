#include "analysis/evaluation/controls.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "analysis/roles/ablation_study.h"
#include "base/error.h"
#include "core/heads/head_set.h"
#include "core/intervention/method.h"

namespace headlight::analysis {
namespace {

using intervention::Intervention;
using intervention::Stack;

double mean_entropy(std::span<const OptionScores> scores) {
  double sum = 0;
  for (const OptionScores& score : scores) sum += score.entropy;
  return sum / static_cast<double>(scores.size());
}

bool has_values_per_head(const Intervention& entry) {
  return std::any_of(entry.params.begin(), entry.params.end(), [](const Json& value) { return value.is_array(); });
}

}  // namespace

Stack identity_of(const Stack& stack) {
  Stack changed = stack;
  for (Intervention& entry : changed)
    for (const intervention::Parameter& parameter : intervention::require_method(entry.method).parameters)
      if (!parameter.identity.is_null()) entry.params[std::string(parameter.name)] = parameter.identity;
  return changed;
}

std::vector<heads::HeadId> heads_named(const Intervention& entry, const heads::HeadGrid& grid) {
  std::vector<heads::HeadId> heads = entry.scope.heads;
  if (heads.empty() && !entry.scope.heads_expression.empty())
    heads = heads::heads_of(grid, heads::parse_heads(entry.scope.heads_expression, {.grid = grid}));
  const auto& layers = entry.scope.layers;
  if (!layers.empty())
    std::erase_if(heads,
                  [&](heads::HeadId id) { return std::find(layers.begin(), layers.end(), id.layer) == layers.end(); });
  return heads;
}

std::optional<Stack> on_random_heads(const Stack& stack, const heads::HeadGrid& grid, SplitMix64& random) {
  heads::HeadMask named(grid.size());
  for (const Intervention& entry : stack) {
    if (!entry.enabled) continue;
    const auto heads = heads_named(entry, grid);
    if (heads.empty() || has_values_per_head(entry)) return std::nullopt;
    for (const heads::HeadId id : heads) named[grid.index(id)] = 1;
  }
  const auto old = heads::heads_of(grid, named);
  if (2 * old.size() > grid.size()) return std::nullopt;
  const auto drawn = matched_draw(grid, old, named, random);
  std::map<heads::HeadId, heads::HeadId> other;
  for (std::size_t k = 0; k < old.size(); ++k) other[old[k]] = drawn[k];
  Stack changed = stack;
  for (Intervention& entry : changed) {
    if (!entry.enabled) continue;
    entry.scope.heads = heads_named(entry, grid);
    for (heads::HeadId& id : entry.scope.heads) id = other.at(id);
    std::sort(entry.scope.heads.begin(), entry.scope.heads.end());
    entry.scope.heads_expression.clear();
    entry.scope.layers.clear();  // the heads say where
  }
  return changed;
}

bool acts_on_first_token(const Stack& stack) {
  return std::any_of(stack.begin(), stack.end(),
                     [](const Intervention& entry) { return entry.enabled && acts_on_first_token(entry); });
}

Arm on_random_token(const Stack& stack, std::uint64_t seed) {
  return {.id = "random-token", .stack = stack, .span_of_item = [seed](const PreparedItem& item, std::size_t number) {
            const auto others = item.input.ids.size() - 1;
            if (others == 0) return intervention::Span{0, 1, {}};
            SplitMix64 random = SplitMix64::stream(seed, "random-token", number);
            const auto at = static_cast<std::int64_t>(1 + random.below(others));
            return intervention::Span{at, at + 1, {}};
          }};
}

std::optional<Stack> on_wrong_span(const Stack& stack) {
  Stack changed = stack;
  bool found = false;
  for (Intervention& entry : changed)
    for (intervention::Span& span : entry.inputs.spans)
      if (span.text == "{evidence}") {
        span.text = "{decoy}";
        found = true;
      }
  return found ? std::optional(changed) : std::nullopt;
}

Stack temperature_instead(const Stack& stack, const heads::HeadGrid& grid, double tau) {
  Stack changed;
  for (const Intervention& entry : stack) {
    if (!entry.enabled) continue;
    Intervention other;
    other.id = entry.id;
    other.method = "temperature";
    other.scope = entry.scope;
    other.scope.heads = heads_named(entry, grid);
    other.params["tau"] = tau;
    changed.push_back(std::move(other));
  }
  return changed;
}

MatchedTemperature match_temperature(ModelRunner& runner, std::span<const PreparedItem> items, const Stack& stack,
                                     std::stop_token stop) {
  constexpr int kSteps = 7;
  const capture::ModelInfo& model = runner.model();
  const heads::HeadGrid grid{model.num_layers, model.num_heads, model.num_kv_heads};
  const auto two =
      score_items(runner, items, std::array{Arm{.id = "base", .stack = {}}, Arm{.id = "new", .stack = stack}}, 0, stop);
  const double base = mean_entropy(two[0]);
  MatchedTemperature found;
  found.wanted = mean_entropy(two[1]) - base;
  if (found.wanted == 0) {
    found.matched = true;
    return found;
  }
  const auto change_at = [&](double tau) {
    const Arm arm{.id = "temperature", .stack = temperature_instead(stack, grid, tau)};
    return mean_entropy(score_items(runner, items, std::span(&arm, 1), 0, stop)[0]) - base;
  };
  // A flatter attention does not always make a flatter prediction: both directions are tried.
  for (const double end : {0.25, 4.0}) {
    const double reached = change_at(end);
    const bool enough = found.wanted > 0 ? reached >= found.wanted : reached <= found.wanted;
    if (!enough) {
      if (std::abs(reached - found.wanted) < std::abs(found.reached - found.wanted)) {
        found.tau = end;
        found.reached = reached;
      }
      continue;
    }
    double near = 0.0, far = std::log(end);
    found.reached = reached;
    for (int step = 0; step < kSteps; ++step) {
      const double middle = 0.5 * (near + far), change = change_at(std::exp(middle));
      if (found.wanted > 0 ? change >= found.wanted : change <= found.wanted) {
        far = middle;
        found.reached = change;
      } else {
        near = middle;
      }
    }
    found.tau = std::exp(far);
    found.matched = true;
    return found;
  }
  return found;
}

}  // namespace headlight::analysis
