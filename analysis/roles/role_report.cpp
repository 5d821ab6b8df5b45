#include "analysis/roles/role_report.h"

#include <algorithm>
#include <cmath>

#include "analysis/roles/needle_scores.h"

namespace headlight::analysis {
namespace {

Json number_or_null(double value) {
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

heads::HeadScore to_head_score(const ScoreInfo& info, const Experiment& experiment, ScoreSummary summary,
                               const RoleInputs& inputs) {
  heads::HeadScore score;
  score.id = info.id;
  score.value = std::move(summary.mean);
  if (summary.samples > 1 && !summary.low.empty()) {
    score.ci_low = std::move(summary.low);
    score.ci_high = std::move(summary.high);
  }
  score.n = summary.samples;
  score.reduce = "mean";
  score.method = experiment.id;
  score.seed = static_cast<std::int64_t>(inputs.seed);
  score.params = {{"formula", info.formula},
                  {"source", experiment.source},
                  {"kv_reduce", info.kv == GroupReduce::max ? "max" : "mean"},
                  {"stability", number_or_null(summary.stability)}};
  return score;
}

/// Samples, counted ones and mean recall by group.
Json summary_of(const ExperimentSamples& found, const RoleInputs& inputs, const capture::ModelInfo& model) {
  Json groups = Json::object();
  std::int64_t counted = 0;
  for (const HeadSample& sample : found.samples) {
    if (!groups.contains(sample.group)) groups[sample.group] = {{"samples", 0}, {"counted", 0}};
    Json& group = groups[sample.group];
    group["samples"] = group["samples"].get<int>() + 1;
    group["counted"] = group["counted"].get<int>() + (sample.counted ? 1 : 0);
    counted += sample.counted;
  }
  Json summary = {{"title", found.experiment->title},
                  {"source", found.experiment->source},
                  {"samples", found.samples.size()},
                  {"counted", counted},
                  {"groups", groups},
                  {"seconds", std::round(found.seconds * 10) / 10}};
  for (const HeadSample& sample : found.samples) summary["inputs"].push_back(sample.facts);
  if (found.experiment->params) summary["params"] = found.experiment->params(inputs, model);
  return summary;
}

/// Short needles need a higher score than the published threshold.
RoleThresholds thresholds_for(std::span<const ExperimentSamples> found) {
  RoleThresholds thresholds;
  for (const auto& [experiment, samples, seconds] : found)
    for (const HeadSample& sample : samples)
      if (sample.counted && sample.facts.contains("answer_tokens"))
        thresholds.retrieval =
            std::max(thresholds.retrieval, retrieval_threshold(sample.facts["answer_tokens"].get<std::int64_t>()));
  return thresholds;
}

}  // namespace

void add_roles(heads::Headplan& plan, std::span<const ExperimentSamples> found, const RoleInputs& inputs,
               const capture::ModelInfo& model, std::span<const double> windowed_h) {
  Json experiments = Json::object();
  for (const ExperimentSamples& part : found) {
    const Experiment& experiment = *part.experiment;
    experiments[std::string(experiment.id)] = summary_of(part, inputs, model);
    for (const ScoreInfo& info : experiment.scores) {
      ScoreSummary summary = summarize(info.id, part.samples, inputs.seed);
      if (summary.samples > 0) plan.put_score(to_head_score(info, experiment, std::move(summary), inputs));
    }
    if (!experiment.derive || part.samples.empty()) continue;
    auto derived = experiment.derive(part.samples, model);
    for (std::size_t k = 0; k < derived.size(); ++k) {
      ScoreSummary summary;
      summary.mean = std::move(derived[k]);
      summary.samples = std::ssize(part.samples);
      summary.stability = NAN;
      auto score = to_head_score(experiment.derived[k], experiment, std::move(summary), inputs);
      score.reduce = "derived";
      plan.put_score(std::move(score));
    }
  }
  std::map<std::string, HeadValues> scores;
  for (const auto& score : plan.scores) scores[score.id] = score.value;
  const RoleThresholds thresholds = thresholds_for(found);
  plan.primary_lh.clear();
  plan.labels_lh.clear();
  for (auto& role : assign_roles(scores, windowed_h, thresholds)) {
    plan.primary_lh.push_back(std::move(role.primary));
    plan.labels_lh.push_back(std::move(role.labels));
  }
  plan.roles_other["thresholds"] = {{"retrieval", thresholds.retrieval},
                                    {"induction", thresholds.induction},
                                    {"duplicate-token", thresholds.duplicate},
                                    {"previous-token", thresholds.previous},
                                    {"positional", thresholds.positional},
                                    {"current-token", thresholds.current},
                                    {"first-token", thresholds.sink},
                                    {"semantic-retrieval", thresholds.semantic},
                                    {"local-16", thresholds.local},
                                    {"entropy-share", thresholds.broad}};
  const auto policy = streaming_policy(scores, model.num_layers, model.num_heads, model.num_kv_heads, thresholds);
  Json rows = Json::array();
  for (int l = 0; l < model.num_layers; ++l)
    rows.push_back(Json(std::vector<std::string>(policy.begin() + l * model.num_kv_heads,
                                                 policy.begin() + (l + 1) * model.num_kv_heads)));
  plan.other["policy"] = std::move(rows);
  plan.other["experiments"] = std::move(experiments);
}

std::vector<RankedHead> strongest(const heads::Headplan& plan, std::string_view id, std::size_t count) {
  const heads::HeadScore* score = plan.find_score(id);
  std::vector<RankedHead> out;
  if (score == nullptr) return out;
  const auto at = [](const std::vector<double>& values, std::size_t k) { return values.empty() ? NAN : values[k]; };
  for (const heads::HeadId head : heads::ranked(plan.model.grid, score->value)) {
    if (out.size() == count) break;
    const std::size_t k = plan.model.grid.index(head);
    out.push_back({head, score->value[k], at(score->ci_low, k), at(score->ci_high, k)});
  }
  return out;
}

std::vector<std::pair<std::string, int>> count_roles(const heads::Headplan& plan) {
  std::map<std::string, int> counts;
  for (const auto& role : plan.primary_lh) ++counts[role];
  std::vector<std::pair<std::string, int>> out(counts.begin(), counts.end());
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

}  // namespace headlight::analysis
