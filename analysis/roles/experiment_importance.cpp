// How much the loss asks for each head, without removing any, and how sure heads are of a key.

#include <algorithm>
#include <cmath>

#include "analysis/roles/gate_gradient.h"
#include "analysis/roles/model_maps.h"
#include "analysis/roles/text_prompt.h"
#include "analysis/undefined.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kGateTokens = 256;
constexpr std::size_t kGateTexts = 4;

HeadSample run_importance(const ExperimentContext& context, std::size_t item) {
  const capture::ModelInfo& model = context.runner.model();
  const int layer = static_cast<int>(item / kGateTexts);
  const auto ids = text_prompt(context.inputs, item % kGateTexts, kGateTexts, kGateTokens);
  HeadValues magnitude(num_heads_of(model), kUndefined);
  const auto gradients = gate_gradients(context, ids, layer);
  for (std::size_t h = 0; h < gradients.size(); ++h)
    magnitude[static_cast<std::size_t>(layer * model.num_heads) + h] = std::abs(gradients[h]);
  HeadSample sample{.group = std::to_string(item % kGateTexts), .counted = true, .scores = {}, .facts = {}};
  sample.scores = {{"gate-gradient", std::move(magnitude)}};
  if (layer > 0) return sample;
  const std::int64_t n = std::ssize(ids);
  const auto result = record_prompt(context, {.ids = ids});
  HeadValues sure;
  for_each_map(context, *result.capture, 1, n,
               [&](std::size_t, std::span<const float> attn_ij) { sure.push_back(confidence(attn_ij, n)); });
  sample.scores.emplace_back("confidence", std::move(sure));
  return sample;
}

}  // namespace

std::vector<double> gate_gradients(const ExperimentContext& context, const std::vector<std::int32_t>& ids, int layer,
                                   double epsilon) {
  const std::vector<std::vector<std::int32_t>> text = {ids};
  const double whole = text_losses(context, text)[0];
  std::vector<double> gradients;
  for (int h = 0; h < context.runner.model().num_heads; ++h)
    gradients.push_back(
        (whole - text_losses(context, text, {intervention::scale_heads({{layer, h}}, 1.0 - epsilon)})[0]) / epsilon);
  return gradients;
}

std::vector<double> normalized_by_layer(std::vector<double> value_lh, int num_heads) {
  for (auto layer = value_lh.begin(); layer != value_lh.end(); layer += num_heads) {
    double squares = 0;
    for (auto value = layer; value != layer + num_heads; ++value) squares += std::isnan(*value) ? 0.0 : *value * *value;
    if (squares > 0)
      for (auto value = layer; value != layer + num_heads; ++value) *value /= std::sqrt(squares);
  }
  return value_lh;
}

double confidence(std::span<const float> attn_ij, std::int64_t num_keys) {
  double sum = 0;
  for (auto row = attn_ij.begin(); row != attn_ij.end(); row += num_keys)
    sum += static_cast<double>(*std::max_element(row + 1, row + num_keys));
  return sum * static_cast<double>(num_keys) / static_cast<double>(attn_ij.size());
}

Experiment importance_experiment() {
  return {
      .id = "importance",
      .title = "What the loss asks of each head",
      .source = "Are Sixteen Heads Really Better than One?",
      .by_default = false,
      .scores = {{"gate-gradient", "mean over texts of |dL/dxi|, xi = gate on the head's output at 1; nats per token"},
                 {"confidence", "mean_i max_{j>0} A[i,j]"}},
      .derived = {{"gate-importance", "gate-gradient / sqrt(sum over the layer of its squares)"}},
      .params = [](const RoleInputs&, const capture::ModelInfo&) -> Json {
        return {{"texts", kGateTexts}, {"tokens", kGateTokens}, {"epsilon", 0.05}};
      },
      .items = [](const RoleInputs& inputs, const capture::ModelInfo& model) -> std::vector<ExperimentItem> {
        if (model.context_length < kGateTokens || inputs.pool.eligible.empty()) return {};
        return layer_items(model, kGateTexts);
      },
      .run = run_importance,
      .derive = [](std::span<const HeadSample> samples, const capture::ModelInfo& model) -> std::vector<HeadValues> {
        return {normalized_by_layer(summarize("gate-gradient", samples, 0).mean, model.num_heads)};
      }};
}

}  // namespace headlight::analysis
