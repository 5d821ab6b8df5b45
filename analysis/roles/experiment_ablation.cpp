// What is lost without a head: loss on text, and the final state when it may only stream.

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/roles/model_maps.h"
#include "analysis/roles/needle_task.h"
#include "analysis/roles/text_prompt.h"
#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kAblationTokens = 256;
constexpr std::size_t kTexts = 4;

std::vector<ExperimentItem> ablation_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  if (model.context_length < kAblationTokens || inputs.pool.eligible.empty()) return {};
  return layer_items(model, kTexts);
}

HeadSample run_ablation(const ExperimentContext& context, std::size_t item) {
  const capture::ModelInfo& model = context.runner.model();
  const int layer = static_cast<int>(item / kTexts);
  const std::vector<std::vector<std::int32_t>> text = {
      text_prompt(context.inputs, item % kTexts, kTexts, kAblationTokens)};
  const double whole = text_losses(context, text)[0];
  HeadValues difference(num_heads_of(model), kUndefined);
  for (int h = 0; h < model.num_heads; ++h)
    difference[static_cast<std::size_t>(layer * model.num_heads + h)] =
        text_losses(context, text, {intervention::ablate_heads({{layer, h}})})[0] - whole;
  HeadSample sample{.group = std::to_string(item % kTexts), .counted = true, .scores = {}, .facts = {{"loss", whole}}};
  sample.scores = {{"ablation", std::move(difference)}};
  return sample;
}

// --- streaming ------------------------------------------------------------------------------------------------------

constexpr std::int64_t kLength = 512, kSink = 16, kRecent = 64, kPlantedSink = 4, kPlantedRecent = 16;
constexpr std::size_t kNeedles = 2;

struct StreamWindow {
  std::int64_t sink, recent;
};
StreamWindow window_for(const RoleInputs& inputs) {
  return inputs.codec ? StreamWindow{kSink, kRecent} : StreamWindow{kPlantedSink, kPlantedRecent};
}

/// A needle prompt with its answer, and the rows that predict the answer.
struct Labelled {
  std::vector<std::int32_t> ids;
  std::int64_t first = 0;  ///< rows [first, ids.size()) are labelled
};
Labelled labelled_prompt(const ExperimentContext& context, std::size_t k) {
  const std::int64_t length = std::min(kLength, context.runner.model().context_length - kMostAnswerTokens);
  const NeedleSample needle = make_needle(context.inputs, k, length, (static_cast<double>(k) + 0.5) / kNeedles);
  Labelled out{needle.ids, std::ssize(needle.ids) - 1};
  const auto answer =
      std::span(needle.ids)
          .subspan(static_cast<std::size_t>(needle.answer.begin), static_cast<std::size_t>(needle.answer.size()));
  std::vector<std::int32_t> copy(answer.begin(), answer.end());
  out.ids.insert(out.ids.end(), copy.begin(), copy.end());
  return out;
}

/// Residual before the final norm in the labelled rows, with every head's operands of one layer.
RunResult run_labelled(const ExperimentContext& context, const Labelled& prompt, int layer, intervention::Stack stack) {
  const capture::ModelInfo& model = context.runner.model();
  RunRequest request;
  request.plan = capture::plan_of_all_heads(model.num_layers, model.num_heads, capture::CaptureLevel::replay);
  request.plan.layers = {layer};
  request.plan.heads_lh.assign(static_cast<std::size_t>(model.num_heads), 1);
  request.plan.overview = false;
  request.plan.topk_rows = 0;
  request.plan.logits = capture::LogitsKept::none;
  request.plan.hidden_states = true;
  request.interventions = std::move(stack);
  request.inputs.push_back({.ids = prompt.ids, .generate = 0, .targets = {}, .logit_rows = {}});
  return context.runner.run(request, context.stop);
}

/// What the head would have written had every row seen only the first `sink` and the last `recent` keys, [n][D].
std::vector<float> streamed_output(const ExperimentContext& context, const capture::CaptureView& view, int head,
                                   const StreamWindow& window) {
  const capture::ModelInfo& model = view.header().model;
  const std::int64_t n = view.record(0).num_rows, d = model.head_dim;
  std::vector<float> attn_ij(static_cast<std::size_t>(n * n)), v(static_cast<std::size_t>(n * d)), out(v.size());
  capture::replay_tile(view, {.record = 0, .layer = 0, .head = head}, {0, n, 0, n}, context.runner.pool(), attn_ij,
                       context.stop);
  view.read_v(0, 0, head * model.num_kv_heads / model.num_heads, 0, n, v.data());
  std::vector<double> row(static_cast<std::size_t>(d));
  for (std::int64_t i = 0; i < n; ++i) {
    std::fill(row.begin(), row.end(), 0.0);
    double mass = 0;
    for (std::int64_t j = 0; j <= i; ++j) {
      if (j >= window.sink && i - j >= window.recent) continue;
      const double a = attn_ij[static_cast<std::size_t>(i * n + j)];
      mass += a;
      for (std::int64_t k = 0; k < d; ++k)
        row[static_cast<std::size_t>(k)] += a * v[static_cast<std::size_t>(j * d + k)];
    }
    for (std::int64_t k = 0; k < d; ++k)
      out[static_cast<std::size_t>(i * d + k)] =
          mass > 0 ? static_cast<float>(row[static_cast<std::size_t>(k)] / mass) : 0.0f;
  }
  return out;
}

/// Final states of the labelled rows after the final norm.
std::vector<double> final_states(const ExperimentContext& context, const RunResult& result, std::int64_t first) {
  const capture::ModelInfo& model = context.runner.model();
  const std::int64_t n = result.capture->record(0).num_rows, d = model.hidden_size;
  std::vector<float> x_id(static_cast<std::size_t>((n - first) * d));
  result.capture->read_states(0, model.num_layers, first, n, x_id.data());
  std::vector<double> states;
  for (std::int64_t i = 0; i < n - first; ++i) {
    const auto row = std::span(x_id.data() + i * d, static_cast<std::size_t>(d));
    const auto normed = context.inputs.final_norm(row);
    states.insert(states.end(), normed.begin(), normed.end());
  }
  return states;
}

std::vector<ExperimentItem> streaming_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  if (!can_make_needles(inputs) || !inputs.final_norm || model.context_length < kLength) return {};
  return layer_items(model, kNeedles);
}

HeadSample run_streaming(const ExperimentContext& context, std::size_t item) {
  const capture::ModelInfo& model = context.runner.model();
  const int layer = static_cast<int>(item / kNeedles), readers = model.num_heads / model.num_kv_heads;
  const Labelled prompt = labelled_prompt(context, item % kNeedles);
  const StreamWindow window = window_for(context.inputs);
  const RunResult whole = run_labelled(context, prompt, layer, {});
  const auto expected = final_states(context, whole, prompt.first);
  HeadValues error(num_heads_of(model), kUndefined);
  for (int kv = 0; kv < model.num_kv_heads; ++kv) {
    std::vector<intervention::HeadValues> outputs;
    for (int h = kv * readers; h < (kv + 1) * readers; ++h)
      outputs.push_back({.head = {layer, h}, .values = streamed_output(context, *whole.capture, h, window)});
    const auto found = final_states(
        context, run_labelled(context, prompt, layer, {intervention::replace_heads(std::move(outputs))}), prompt.first);
    double squares = 0;
    for (std::size_t k = 0; k < found.size(); ++k) squares += (found[k] - expected[k]) * (found[k] - expected[k]);
    for (int h = kv * readers; h < (kv + 1) * readers; ++h)
      error[static_cast<std::size_t>(layer * model.num_heads + h)] = squares / static_cast<double>(found.size());
  }
  HeadSample sample{.group = std::to_string(item % kNeedles), .counted = true, .scores = {}, .facts = {}};
  sample.scores = {{"streaming-error", std::move(error)}};
  return sample;
}

}  // namespace

Experiment ablation_experiment() {
  return {.id = "ablation",
          .title = "Loss without a head",
          .source = "Are Sixteen Heads Really Better than One?",
          .by_default = false,
          .scores = {{"ablation", "loss on text without the head - loss with it, nats per token"}},
          .derived = {},
          .params = [](const RoleInputs&, const capture::ModelInfo&) -> Json {
            return {{"texts", kTexts}, {"tokens", kAblationTokens}, {"method", "zero"}};
          },
          .items = ablation_items,
          .run = run_ablation,
          .derive = {}};
}

Experiment streaming_experiment() {
  return {.id = "streaming",
          .title = "One KV head may only stream",
          .source = "DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads",
          .by_default = false,
          .scores = {{"streaming-error",
                      "mean squared change of the normed final state where the answer is predicted, when the KV head's "
                      "readers see only first and recent tokens"}},
          .derived = {},
          .params = [](const RoleInputs& inputs, const capture::ModelInfo&) -> Json {
            const StreamWindow window = window_for(inputs);
            return {{"needles", kNeedles}, {"length", kLength}, {"sink", window.sink}, {"recent", window.recent}};
          },
          .items = streaming_items,
          .run = run_streaming,
          .derive = {}};
}

}  // namespace headlight::analysis
