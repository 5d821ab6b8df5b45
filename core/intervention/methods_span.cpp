// Methods made for images among text: they treat two sets of tokens differently. The sets are whatever spans are given.

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

using kernels::KeyRange;
using kernels::KeyRun;
using kernels::RowOp;
using kernels::RowStep;

/// Runs of two disjoint sets, ascending; what would be 0 is left out where `skip_zero`.
std::vector<KeyRun> two_sets(const std::vector<KeyRange>& first, double first_value,
                             const std::vector<KeyRange>& second, double second_value, bool skip_zero) {
  std::vector<KeyRun> runs;
  for (const auto& [spans, value] : {std::pair(&first, first_value), std::pair(&second, second_value)})
    for (const KeyRange& span : *spans)
      if (value != 0.0 || !skip_zero) runs.push_back({span.begin, span.end, static_cast<float>(value)});
  std::sort(runs.begin(), runs.end(), [](const KeyRun& a, const KeyRun& b) { return a.begin < b.begin; });
  return runs;
}

/// s'_j = s_j + alpha |s_j| on the spans, beta |s_j| on the others; last row of the prompt and generated rows.
void compile_raise(const Resolved& in, Builder& builder) {
  const auto spans = in.spans(), others = in.other_spans(false);
  RowStep step = in.step(RowOp::raise);
  if (in.flag("last_row_only")) step.rows.begin = std::max(step.rows.begin, in.prompt().num_tokens - 1);
  for (const HeadId head : in.heads())
    builder.add(head, step, two_sets(spans, in.number("alpha", head), others, in.number("beta", head), true));
}

/// A'_j ~ lambda A_j on the spans, lambda_other A_j on the others.
void compile_span_weights(const Resolved& in, Builder& builder) {
  const auto spans = in.spans(), others = in.other_spans(false);
  for (const HeadId head : in.heads())
    builder.add(
        head, in.step(RowOp::bias),
        two_sets(spans, std::log(in.number("lambda", head)), others, std::log(in.number("lambda_other", head)), true));
}

/// Keys of the spans share `share` of a row, all others the rest.
void compile_dual_softmax(const Resolved& in, Builder& builder) {
  const auto spans = in.spans();
  for (const HeadId head : in.heads()) {
    RowStep step = in.step(RowOp::set_masses);
    const double share = in.number("share", head);
    step.constants[0] = static_cast<float>(1.0 - share);
    step.constants[1] = static_cast<float>(share);
    step.constants[3] = static_cast<float>(in.number("mix", head));
    builder.add(head, step, two_sets(spans, 1.0, {}, 0.0, true));
  }
}

/// Weights of the first token of the spans and the first token of the others change places.
void compile_answer_swap(const Resolved& in, Builder& builder) {
  const std::int64_t a = in.spans().front().begin, b = in.other_spans(true).front().begin;
  RowStep step = in.step(RowOp::swap_keys);
  step.rows.begin = std::max(step.rows.begin, in.prompt().num_tokens - 1);
  for (const HeadId head : in.heads()) builder.add(head, step, two_sets({{a, a + 1}}, 0.0, {{b, b + 1}}, 0.0, false));
}

int gaze_layer(const Resolved& in) {
  const int last = in.shape().num_layers - 1;
  const std::int64_t given = in.integer("from_layer");
  const auto layer = given >= 0 ? given : std::lround(11.0 * last / 31.0);
  if (layer > last)
    in.refuse("params.from_layer", fmt::format("layer {} does not exist, the last one is {}", layer, last));
  return static_cast<int>(layer);
}

/// Weights exp(alpha saliency) on the image, found in one layer of the prompt, for generated rows of later layers.
void compile_gift(const Resolved& in, Builder& builder) {
  GazeDetection detection;
  detection.image = in.spans();
  detection.question = in.other_spans(true);
  if (detection.question.front().begin == 0)
    in.refuse("inputs.other_spans", "the first token has no token before it, so that attention cannot have shifted");
  const bool open = in.source().scope.is_open();
  const int from = gaze_layer(in), last = in.shape().num_layers - 1;
  RowStep step = in.step(RowOp::shift_gaze);
  step.rows.begin = std::max(step.rows.begin, in.prompt().num_tokens);
  std::vector<std::pair<double, LaterStep>> targets;
  for (const HeadId head : in.heads()) {
    // Layers 12 to 22 of a model of 32, unless some are named.
    if (open && (head.layer < std::lround(12.0 * last / 31.0) || head.layer > std::lround(22.0 * last / 31.0)))
      continue;
    targets.emplace_back(in.number("alpha", head), LaterStep{head.layer, builder.add(head, step)});
  }
  for (std::size_t begin = 0; begin < targets.size();) {  // heads with the same strength share their weights
    detection.alpha = targets[begin].first;
    detection.targets.clear();
    std::size_t end = begin;
    for (; end < targets.size() && targets[end].first == detection.alpha; ++end)
      detection.targets.push_back(targets[end].second);
    builder.layer(from).gazes.push_back(detection);
    begin = end;
  }
}

}  // namespace

std::vector<Method> span_methods() {
  return {
      {.id = "raise-scores",
       .title = "Fixing Imbalanced Attention, and PAI",
       .formula = "s'_j = s_j + alpha |s_j| on the spans, s_j + beta |s_j| on the other spans",
       .source =
           "Fixing Imbalanced Attention to Mitigate In-Context Hallucination of Large Vision-Language Model; Paying "
           "More Attention to Image: A Training-Free Method for Alleviating Hallucination in LVLMs",
       .hook = "scores",
       .parameters = {number_parameter("alpha", 0.7, 0.0, 2.0, 0.0, "How much scores of the spans rise."),
                      number_parameter("beta", 0.3, 0.0, 1.0, 0.0, "How much those of the other spans rise."),
                      flag_parameter("last_row_only", true,
                                     "Leave rows of the prompt before the last one as they are.")},
       .compile = compile_raise,
       .joint_identity = true},
      {.id = "span-weights",
       .title = "Visual attention weights",
       .formula = "A'_j ~ lambda A_j on the spans, lambda_other A_j on the other spans, rows sum to 1",
       .source = "From Narrow to Panoramic Vision: Attention-Guided Cold-Start Reshapes Multimodal Reasoning",
       .hook = "scores",
       .parameters = {number_parameter("lambda", 1.2, 0.5, 3.0, 1.0, "Weight of the spans (an image)."),
                      number_parameter("lambda_other", 0.8, 0.1, 1.0, 1.0,
                                       "Weight of the other spans (the system prompt).")},
       .compile = compile_span_weights,
       .joint_identity = true},
      {.id = "dual-softmax",
       .title = "Separate softmax for two kinds of tokens (experimental)",
       .formula = "A'_j = (1 - mix) A_j + mix c A_j / m, c = share for keys of the spans, 1 - share for the others",
       .source =
           "Looking Beyond Text: Reducing Language bias in Large Vision-Language Models via Multimodal Dual-Attention "
           "and Soft-Image Guidance",
       .hook = "weights",
       .parameters = {number_parameter("mix", 1.0, 0.0, 1.0, 0.0, "Share of the separated weights."),
                      number_parameter("share", 0.5, 0.0, 1.0, nullptr, "What the spans get of a row.")},
       .compile = compile_dual_softmax},
      {.id = "gift",
       .title = "GIFT, gaze shift guidance",
       .formula =
           "generated rows: A'_j ~ exp(alpha g_j) A_j on the spans, r A_j on the other spans, r = sum exp(alpha g) A "
           "/ sum A; g = saliency from the shift of attention along the other spans",
       .source = "Gaze Shift-Guided Cross-modal Fusion Enhancement",
       .hook = "weights",
       .parameters = {number_parameter("alpha", 5.0, 0.0, 10.0, 0.0, "Strength of the weights."),
                      integer_parameter("from_layer", -1, -1, 1023,
                                        "Layer whose attention is looked at; -1: layer 11 of a model of 32.")},
       .compile = compile_gift},
      {.id = "answer-swap",
       .title = "Anchored answers: two keys change places (an oracle)",
       .formula = "A'_p = A_q, A'_q = A_p on the last row of the prompt and generated rows; p, q = first token of the "
                  "spans, of the other spans",
       .source = "Anchored Answers: Unravelling Positional Bias in GPT-2's Multiple-Choice Questions",
       .hook = "weights",
       .parameters = {switch_parameter("enabled", "Needs the position of the right answer: for analysis only.")},
       .compile = compile_answer_swap},
  };
}

}  // namespace headlight::intervention
