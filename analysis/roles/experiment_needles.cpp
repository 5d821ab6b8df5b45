// Which heads copy a needle out of a haystack: retrieval, semantic retrieval, retrieval and reasoning, in one pass.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "analysis/roles/model_maps.h"
#include "analysis/roles/needle_scores.h"
#include "analysis/roles/needle_task.h"
#include "base/split_mix.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kShortestHaystack = 128;
constexpr std::size_t kDepths = 10;

/// Lengths that leave room for the answer.
std::vector<std::int64_t> lengths_for(const RoleInputs& inputs, const capture::ModelInfo& model) {
  std::vector<std::int64_t> lengths;
  for (const std::int64_t length : inputs.needle_lengths) {
    const std::int64_t fitting = std::min(length, model.context_length - kMostAnswerTokens);
    if (fitting >= kShortestHaystack && (lengths.empty() || fitting > lengths.back())) lengths.push_back(fitting);
  }
  return lengths;
}

std::vector<ExperimentItem> needle_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  std::vector<ExperimentItem> out;
  if (!can_make_needles(inputs)) return out;
  for (const std::int64_t length : lengths_for(inputs, model))
    for (std::size_t depth = 0; depth < kDepths; ++depth)
      out.push_back({fmt::format("{}/{}", length, depth), std::to_string(length)});
  return out;
}

/// Which needle: the same for the same length and depth, whatever other lengths there are.
std::size_t needle_number(std::int64_t length, std::size_t depth) {
  const auto doublings = std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(256, length)) / 256) - 1;
  return static_cast<std::size_t>(doublings) * kDepths + depth;
}

/// Scores of every head from the rows that produced the answer.
void score_heads(const ExperimentContext& context, const NeedleSample& needle, const RunResult& result,
                 std::span<const std::int32_t> outputs, HeadSample& sample) {
  const std::int64_t first = std::ssize(needle.ids) - 1, last = first + std::ssize(outputs);
  const auto windows = windows_of(*result.capture);
  HeadValues retrieval, semantic, sum, reasoning;
  for_each_map(context, *result.capture, first, last, [&](std::size_t index, std::span<const float> attn_ij) {
    std::vector<DecodeRow> steps;
    for (std::size_t t = 0; t < outputs.size(); ++t)
      steps.push_back(
          {attn_ij.subspan(t * static_cast<std::size_t>(last), static_cast<std::size_t>(last)), outputs[t]});
    NeedleScores scores = needle_scores(steps, needle.ids, needle.answer);
    // A window that ends after the needle leaves nothing to find.
    if (windows[index] > 0 && last - windows[index] > needle.answer.begin)
      scores.retrieval = scores.semantic = scores.semantic_share = scores.reasoning =
          std::numeric_limits<double>::quiet_NaN();
    retrieval.push_back(scores.retrieval);
    semantic.push_back(scores.semantic_share);
    sum.push_back(scores.semantic);
    reasoning.push_back(scores.reasoning);
  });
  sample.scores = {{"retrieval", retrieval},
                   {"semantic-retrieval", semantic},
                   {"semantic-retrieval-sum", sum},
                   {"retrieval-reasoning", reasoning}};
}

HeadSample run_needle(const ExperimentContext& context, std::size_t item) {
  const std::int64_t length = lengths_for(context.inputs, context.runner.model())[item / kDepths];
  const double depth = static_cast<double>(item % kDepths) / static_cast<double>(kDepths - 1);
  const NeedleSample needle = make_needle(context.inputs, needle_number(length, item % kDepths), length, depth);
  HeadSample sample{.group = std::to_string(length), .counted = false, .scores = {}, .facts = {}};
  sample.facts = {{"length", needle.ids.size()}, {"depth", depth}, {"answer_tokens", needle.answer.size()}};
  if (needle.answer.begin < 0) {
    sample.facts["left_out"] = "the answer was not found among the prompt's tokens";
    return sample;
  }
  const auto result = record_prompt(
      context, {.ids = needle.ids, .generate = answer_budget(needle), .first_row = std::ssize(needle.ids) - 1});
  const auto outputs = answer_of(context.inputs, needle, result.outputs[0].generated);
  const double recall = needle_recall(context.inputs, needle, outputs);
  sample.counted = recall > 0.5;
  sample.facts["recall"] = recall;
  if (context.inputs.codec) sample.facts["answer"] = context.inputs.codec.decode(outputs);
  if (sample.counted) score_heads(context, needle, result, outputs, sample);
  return sample;
}

}  // namespace

Experiment needles_experiment() {
  return {.id = "needles",
          .title = "A needle in a haystack",
          .source = "Retrieval Head Mechanistically Explains Long-Context Factuality",
          .scores =
              {{"retrieval", "share of the needle's tokens that were produced while the largest weight was on them"},
               {"semantic-retrieval", "mean mass on the needle while its tokens are produced"},
               {"semantic-retrieval-sum", "sum over steps of mass on the needle times occurrences of the token in it"},
               {"retrieval-reasoning", "sum over steps of the mass that the m largest weights have on the needle / m"}},
          .derived = {},
          .params = [](const RoleInputs& inputs, const capture::ModelInfo& model) -> Json {
            return {{"lengths", lengths_for(inputs, model)},
                    {"depths", kDepths},
                    {"needles", inputs.codec ? Json("text") : Json("tokens")},
                    {"counted", "recall > 0.5"}};
          },
          .items = needle_items,
          .run = run_needle,
          .derive = {}};
}

}  // namespace headlight::analysis
