// What heads do on random tokens that come twice: previous, current, positional, duplicate, induction, first token.

#include <cmath>
#include <limits>

#include "analysis/roles/model_maps.h"
#include "analysis/roles/pattern_scores.h"

namespace headlight::analysis {
namespace {

struct Size {
  std::int64_t period;
  int count;
};
constexpr Size kSizes[] = {{50, 8}, {200, 2}};

std::vector<ExperimentItem> repeat_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  std::vector<ExperimentItem> out;
  for (const auto& [period, count] : kSizes) {
    const bool fits =
        period == kSizes[0].period ? inputs.pool.eligible.size() >= 2 : std::ssize(inputs.pool.eligible) >= period;
    if (!fits || 2 * period + 1 > model.context_length) continue;
    for (int k = 0; k < count; ++k)
      out.push_back({std::to_string(period) + "/" + std::to_string(k), std::to_string(period)});
  }
  return out;
}

std::vector<std::pair<std::string, double>> named(const PatternScores& s, bool long_range) {
  const auto reached = [&](double score) { return long_range ? score : std::numeric_limits<double>::quiet_NaN(); };
  return {{"previous-token", s.previous},
          {"current-token", s.current},
          {"positional", s.positional},
          {"first-token", s.first},
          {"first-token-rate", s.first_rate},
          {"duplicate-token", reached(s.duplicate)},
          {"duplicate-stripe", reached(s.duplicate_stripe)},
          {"duplicate-mass", reached(s.duplicate_mass)},
          {"induction", reached(s.induction)},
          {"induction-mass", reached(s.induction_mass)},
          {"entropy-share", s.broad},
          {"vertical", s.vertical},
          {"distance", s.distance}};
}

HeadSample run_repeat(const ExperimentContext& context, std::size_t item) {
  const std::int64_t period = item < static_cast<std::size_t>(kSizes[0].count) ? kSizes[0].period : kSizes[1].period;
  const auto sequence = repeated_sequence(context.inputs.pool, period, context.inputs.seed, item);
  const auto result = record_prompt(context, {.ids = sequence.ids});
  const auto windows = windows_of(*result.capture);
  const auto targets = pattern_targets(sequence.ids);
  const std::int64_t n = std::ssize(sequence.ids);
  HeadSample sample{
      .group = std::to_string(period), .counted = true, .scores = {}, .facts = {{"period", sequence.period}}};
  HeadValues offsets;
  for_each_map(context, *result.capture, 0, n, [&](std::size_t index, std::span<const float> attn_ij) {
    const PatternScores scores = pattern_scores({n, attn_ij}, targets);
    const bool long_range = windows[index] == 0 || windows[index] > sequence.period;
    const auto values = named(scores, long_range);
    if (sample.scores.empty())
      for (const auto& [id, value] : values) sample.scores.emplace_back(id, HeadValues());
    for (std::size_t k = 0; k < values.size(); ++k) sample.scores[k].second.push_back(values[k].second);
    offsets.push_back(static_cast<double>(scores.positional_offset));
  });
  sample.scores.emplace_back("positional-offset", std::move(offsets));
  return sample;
}

}  // namespace

Experiment repeats_experiment() {
  return {.id = "repeats",
          .title = "Random tokens that come twice",
          .source = "In-context Learning and Induction Heads",
          .scores = {{"previous-token", "mean_i A[i,i-1]"},
                     {"current-token", "mean_i A[i,i]"},
                     {"positional", "max over 2 <= d <= 16 of mean_i A[i,i-d]"},
                     {"positional-offset", "the d of `positional`"},
                     {"first-token", "mean_i A[i,0]", GroupReduce::mean},
                     {"first-token-rate", "share of rows with A[i,0] > 0.3", GroupReduce::mean},
                     {"duplicate-token", "mass on earlier equal tokens / mass off the diagonal, second half"},
                     {"duplicate-stripe", "mean mass on earlier equal tokens, second half"},
                     {"duplicate-mass", "mass on earlier equal tokens / mass off the diagonal, all rows"},
                     {"induction", "mean mass on the token after the earlier equal one, second half"},
                     {"induction-mass", "mass on tokens after earlier equal ones / all mass"},
                     {"entropy-share", "mean_i H_i / ln(i+1)", GroupReduce::mean},
                     {"vertical", "max over j > 0 of mean_{i >= j} A[i,j]", GroupReduce::mean},
                     {"distance", "mean_i sum_j A[i,j] (i-j)", GroupReduce::mean}},
          .derived = {},
          .params = [](const RoleInputs&, const capture::ModelInfo&) -> Json {
            return {{"periods", {kSizes[0].period, kSizes[1].period}}, {"samples", {kSizes[0].count, kSizes[1].count}}};
          },
          .items = repeat_items,
          .run = run_repeat,
          .derive = {}};
}

}  // namespace headlight::analysis
