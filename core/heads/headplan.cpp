#include "core/heads/headplan.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"

namespace headlight::heads {

const HeadScore* Headplan::find_score(std::string_view id) const {
  const auto found = std::find_if(scores.begin(), scores.end(), [&](const HeadScore& score) { return score.id == id; });
  return found == scores.end() ? nullptr : &*found;
}

void Headplan::put_score(HeadScore score) {
  const auto found = std::find_if(scores.begin(), scores.end(), [&](const HeadScore& s) { return s.id == score.id; });
  if (found == scores.end())
    scores.push_back(std::move(score));
  else
    *found = std::move(score);
}

std::vector<double> Headplan::score_per_head(std::string_view id) const {
  const HeadScore* score = find_score(id);
  if (score == nullptr) throw Error(Errc::invalid_argument, fmt::format("the headplan has no score '{}'", id));
  if (score->granularity == Granularity::query) return score->value;
  const HeadGrid& grid = model.grid;
  std::vector<double> value_lh(grid.size());
  for (int l = 0; l < grid.num_layers; ++l)
    for (int h = 0; h < grid.num_heads; ++h)
      value_lh[grid.index({l, h})] = score->value[static_cast<std::size_t>(l * grid.num_kv_heads + grid.kv_head(h))];
  return value_lh;
}

std::vector<std::vector<std::string>> Headplan::effective_labels() const {
  if (labels_lh.empty() && overrides.empty()) return {};
  std::vector<std::vector<std::string>> labels = labels_lh;
  labels.resize(model.grid.size());
  for (std::size_t at = 0; at < labels.size() && !primary_lh.empty(); ++at) {
    const std::string& primary = primary_lh[at];
    if (primary.empty()) continue;
    labels[at].erase(std::remove(labels[at].begin(), labels[at].end(), primary), labels[at].end());
    labels[at].insert(labels[at].begin(), primary);
  }
  for (const RoleOverride& change : overrides) labels[model.grid.index(change.head)] = change.labels;
  return labels;
}

Headplan load_headplan(const std::string& path) {
  try {
    return headplan_from_json(parse_json(read_text_file(path, 256u << 20), {.max_bytes = 256u << 20}));
  } catch (const Error& error) {
    throw error.in_file(path);
  }
}

void save_headplan(const Headplan& plan, const std::string& path, bool overwrite) {
  OutputFile file(path, overwrite);
  file.write(dump_json(to_json(plan)) + "\n");
  file.commit();
}

void add_headplan(HeadFacts& facts, const Headplan& plan) {
  const HeadGrid &a = facts.grid, &b = plan.model.grid;
  if (a.num_layers != b.num_layers || a.num_heads != b.num_heads)
    throw Error(Errc::invalid_argument,
                fmt::format("the headplan is of a model with {} layers and {} heads, this one has {} and {}",
                            b.num_layers, b.num_heads, a.num_layers, a.num_heads));
  std::vector<std::string> added;
  for (const HeadScore& score : plan.scores) {
    if (std::find(facts.metrics.begin(), facts.metrics.end(), score.id) != facts.metrics.end()) continue;
    facts.metrics.push_back(score.id);
    added.push_back(score.id);
  }
  facts.metric = [before = facts.metric, plan, added](std::string_view id) {
    const bool ours = std::find(added.begin(), added.end(), id) != added.end();
    return ours ? plan.score_per_head(id) : before(id);
  };
  facts.labels_lh = plan.effective_labels();
  for (const auto& [name, list] : plan.sets) {
    HeadMask& mask = facts.sets[name];
    mask.assign(a.size(), 0);
    for (const HeadId id : list) mask[a.index(id)] = 1;
  }
}

}  // namespace headlight::heads
