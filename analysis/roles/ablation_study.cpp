#include "analysis/roles/ablation_study.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/roles/needle_task.h"
#include "analysis/roles/text_prompt.h"
#include "base/error.h"
#include "core/heads/head_set.h"

namespace headlight::analysis {
namespace {

using heads::HeadId;

constexpr std::int64_t kTextTokens = 256;
/// Other random repeats than those of the scores.
constexpr std::uint64_t kFreshRepeats = 1000;

RunRequest request_for(std::span<const HeadId> removed) {
  RunRequest request;
  request.plan.layers = {};
  request.plan.logits = capture::LogitsKept::none;
  if (!removed.empty())
    request.interventions.push_back(intervention::ablate_heads(std::vector<HeadId>(removed.begin(), removed.end())));
  return request;
}

/// Logits where targets are.
void ask_for_targets(RunInput& input) {
  for (const auto& target : input.targets) input.logit_rows.push_back(target.row);
}

/// The prompt with the answer behind it; targets are the answer's tokens.
RunInput with_answer(const NeedleSample& needle) {
  RunInput input{.ids = needle.ids, .generate = 0, .targets = {}, .logit_rows = {}};
  for (std::int64_t k = needle.answer.begin; k < needle.answer.end; ++k) {
    const std::int32_t id = needle.ids[static_cast<std::size_t>(k)];
    input.targets.push_back({.row = std::ssize(input.ids) - 1, .id = id});
    input.ids.push_back(id);
  }
  input.ids.pop_back();
  ask_for_targets(input);
  return input;
}

/// Share of all targets that are the likeliest token.
double share_predicted(const RunRequest& request, const RunResult& result, std::int64_t vocab) {
  double right = 0, count = 0;
  for (std::size_t k = 0; k < request.inputs.size(); ++k) {
    auto row = result.outputs[k].logits.begin();
    for (const auto& target : request.inputs[k].targets) {
      right += std::max_element(row, row + vocab) - row == target.id;
      count += 1;
      row += vocab;
    }
  }
  return right / count;
}

double mean_loss(const std::vector<RunOutput>& outputs) {
  double sum = 0, count = 0;
  for (const auto& output : outputs)
    for (const float logprob : output.target_logprob) sum -= logprob, count += 1;
  return sum / count;
}

class NeedleAblation final : public AblationTask {
 public:
  NeedleAblation(const ExperimentContext& context, const NeedleTaskOptions& options)
      : context_(context), options_(options) {
    for (std::size_t k = 0; k < options.candidates && needles_.size() < options.most_counted; ++k) {
      const double depth = (static_cast<double>(k / context.inputs.needles.size()) + 0.5) / 4.0;
      NeedleSample needle = make_needle(context.inputs, k, options.length, depth);
      if (needle.answer.begin >= 0 && recall_of(needle) > 0.5) needles_.push_back(std::move(needle));
    }
    for (std::size_t part = 0; part < options.text_windows; ++part)
      texts_.push_back(text_prompt(context.inputs, part, options.text_windows, kTextTokens));
  }

  TaskResult evaluate(std::span<const HeadId> removed) override {
    RunRequest request = request_for(removed);
    for (const auto& needle : needles_) request.inputs.push_back(with_answer(needle));
    const double recall =
        share_predicted(request, context_.runner.run(request, context_.stop), context_.runner.model().vocab_size);
    request.inputs.clear();
    for (const auto& ids : texts_)
      request.inputs.push_back({.ids = ids, .generate = 0, .targets = next_token_targets(ids), .logit_rows = {}});
    return {recall, mean_loss(context_.runner.run(request, context_.stop).outputs)};
  }
  std::size_t num_samples() const override { return needles_.size(); }
  Json describe() const override {
    return {{"task", "needles"},
            {"length", options_.length},
            {"candidates", options_.candidates},
            {"counted", needles_.size()},
            {"text_tokens", kTextTokens * std::ssize(texts_)}};
  }

 private:
  /// Of what the whole model answers, word by word.
  double recall_of(const NeedleSample& needle) const {
    RunRequest request = request_for({});
    request.inputs.push_back({.ids = needle.ids, .generate = answer_budget(needle), .targets = {}, .logit_rows = {}});
    const auto result = context_.runner.run(request, context_.stop);
    return needle_recall(context_.inputs, needle, answer_of(context_.inputs, needle, result.outputs[0].generated));
  }

  ExperimentContext context_;
  NeedleTaskOptions options_;
  std::vector<NeedleSample> needles_;
  std::vector<std::vector<std::int32_t>> texts_;
};

class RepeatAblation final : public AblationTask {
 public:
  RepeatAblation(const ExperimentContext& context, std::size_t samples, std::int64_t period) : context_(context) {
    for (std::size_t k = 0; k < samples; ++k) {
      sequences_.push_back(repeated_sequence(context.inputs.pool, period, context.inputs.seed, kFreshRepeats + k));
    }
  }

  TaskResult evaluate(std::span<const HeadId> removed) override {
    RunRequest request = request_for(removed);
    for (const auto& [ids, period] : sequences_) {
      RunInput input{.ids = ids, .generate = 0, .targets = {}, .logit_rows = {}};
      input.targets = next_token_targets(ids, std::ssize(ids) - period);
      ask_for_targets(input);
      request.inputs.push_back(std::move(input));
    }
    const auto result = context_.runner.run(request, context_.stop);
    return {share_predicted(request, result, context_.runner.model().vocab_size), mean_loss(result.outputs)};
  }
  std::size_t num_samples() const override { return sequences_.size(); }
  Json describe() const override {
    return {{"task", "repeats"}, {"samples", sequences_.size()}, {"period", sequences_.front().period}};
  }

 private:
  ExperimentContext context_;
  std::vector<RepeatedSequence> sequences_;
};

Json to_json(const TaskResult& result) {
  return {{"performance", result.performance}, {"loss", result.loss}};
}

}  // namespace

std::vector<HeadId> top_heads(const heads::HeadGrid& grid, std::span<const double> value_lh, std::size_t count) {
  auto ids = heads::ranked(grid, value_lh);
  ids.resize(std::min(count, ids.size()));
  return ids;
}

std::vector<HeadId> matched_draw(const heads::HeadGrid& grid, std::span<const HeadId> heads,
                                 const heads::HeadMask& excluded, SplitMix64& random) {
  std::vector<std::vector<int>> free(static_cast<std::size_t>(grid.num_layers));
  for (int l = 0; l < grid.num_layers; ++l) {
    for (int h = 0; h < grid.num_heads; ++h)
      if (excluded[grid.index({l, h})] == 0) free[static_cast<std::size_t>(l)].push_back(h);
    random.shuffle(free[static_cast<std::size_t>(l)]);
  }
  std::vector<HeadId> drawn(heads.size()), rest;
  std::vector<std::size_t> missing;
  for (std::size_t k = 0; k < heads.size(); ++k) {
    auto& free_h = free[static_cast<std::size_t>(heads[k].layer)];
    if (free_h.empty()) {
      missing.push_back(k);
      continue;
    }
    drawn[k] = {heads[k].layer, free_h.back()};
    free_h.pop_back();
  }
  for (int l = 0; l < grid.num_layers; ++l)
    for (const int h : free[static_cast<std::size_t>(l)]) rest.push_back({l, h});
  if (missing.size() > rest.size())
    throw Error(Errc::invalid_argument,
                fmt::format("{} heads cannot be drawn: too few are left outside the excluded ones", heads.size()));
  if (!missing.empty()) random.shuffle(rest);
  for (std::size_t m = 0; m < missing.size(); ++m) drawn[missing[m]] = rest[m];
  return drawn;
}

std::unique_ptr<AblationTask> make_needle_ablation(const ExperimentContext& context, const NeedleTaskOptions& options) {
  return std::make_unique<NeedleAblation>(context, options);
}

std::unique_ptr<AblationTask> make_repeat_ablation(const ExperimentContext& context, std::size_t samples,
                                                   std::int64_t period) {
  return std::make_unique<RepeatAblation>(context, samples, period);
}

double AblationPoint::rank_p() const {
  const auto no_better = std::count_if(with_random.begin(), with_random.end(), [&](const TaskResult& random) {
    return random.performance <= with_top.performance;
  });
  return (1.0 + static_cast<double>(no_better)) / (1.0 + static_cast<double>(with_random.size()));
}

AblationStudy run_ablation_study(AblationTask& task, const heads::HeadGrid& grid, std::span<const double> value_lh,
                                 const StudyOptions& options, std::uint64_t seed, std::stop_token stop) {
  const auto top_share = [&](double share) {
    const auto count = std::llround(share * static_cast<double>(grid.size()));
    return top_heads(grid, value_lh, static_cast<std::size_t>(std::max(1LL, count)));
  };
  heads::HeadMask excluded(grid.size());
  for (const HeadId id : top_share(options.excluded_share)) excluded[grid.index(id)] = 1;

  AblationStudy study;
  std::size_t done = 0;
  const std::size_t total = 1 + options.shares.size() * (static_cast<std::size_t>(options.draws) + 1);
  const auto evaluate = [&](std::span<const HeadId> removed) {
    if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped on request");
    return task.evaluate(removed);
  };
  const auto report = [&] {
    if (options.progress) options.progress(study, ++done, total);
  };
  study.whole = evaluate({});
  report();
  for (const double share : options.shares) {
    const auto top = top_share(share);
    study.points.push_back({.share = share, .top = top, .with_top = evaluate(top), .with_random = {}});
    report();
  }
  for (int draw = 0; draw < options.draws; ++draw)
    for (AblationPoint& point : study.points) {
      SplitMix64 random =
          SplitMix64::stream(seed, fmt::format("draw-{}", point.top.size()), static_cast<std::uint64_t>(draw));
      point.with_random.push_back(evaluate(matched_draw(grid, point.top, excluded, random)));
      report();
    }
  return study;
}

Json to_json(const AblationStudy& study) {
  Json json = {{"whole", to_json(study.whole)}, {"points", Json::array()}};
  for (const auto& point : study.points) {
    Json top = Json::array(), random = Json::array();
    for (const HeadId id : point.top) top.push_back(heads::to_string(id));
    for (const auto& result : point.with_random) random.push_back(to_json(result));
    json["points"].push_back({{"share", point.share},
                              {"heads", top},
                              {"with_top", to_json(point.with_top)},
                              {"with_random", random},
                              {"rank_p", point.rank_p()}});
  }
  return json;
}

}  // namespace headlight::analysis
