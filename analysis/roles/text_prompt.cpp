#include "analysis/roles/text_prompt.h"

#include <fmt/format.h>

namespace headlight::analysis {

std::vector<std::int32_t> text_prompt(const RoleInputs& inputs, std::size_t part, std::size_t parts,
                                      std::int64_t length) {
  if (!inputs.codec || inputs.documents.empty()) return random_sequence(inputs.pool, length, inputs.seed, part);
  std::vector<std::int32_t> ids, all;
  if (inputs.pool.bos) ids.push_back(*inputs.pool.bos);
  for (const auto& document : inputs.documents) {
    const auto more = inputs.codec.encode(document.text);
    all.insert(all.end(), more.begin(), more.end());
  }
  for (std::size_t k = part * all.size() / parts; std::ssize(ids) < length; ++k) ids.push_back(all[k % all.size()]);
  return ids;
}

std::vector<double> text_losses(const ExperimentContext& context, std::span<const std::vector<std::int32_t>> texts,
                                intervention::Stack stack) {
  RunRequest request;
  request.plan.layers = {};
  request.plan.logits = capture::LogitsKept::none;
  request.interventions = std::move(stack);
  for (const auto& ids : texts)
    request.inputs.push_back({.ids = ids, .generate = 0, .targets = next_token_targets(ids), .logit_rows = {}});
  std::vector<double> means;
  for (const auto& output : context.runner.run(request, context.stop).outputs) {
    double sum = 0;
    for (const float logprob : output.target_logprob) sum -= logprob;
    means.push_back(sum / static_cast<double>(output.target_logprob.size()));
  }
  return means;
}

std::vector<ExperimentItem> layer_items(const capture::ModelInfo& model, std::size_t inputs) {
  std::vector<ExperimentItem> out;
  for (int layer = 0; layer < model.num_layers; ++layer)
    for (std::size_t k = 0; k < inputs; ++k) out.push_back({fmt::format("{}/{}", layer, k), std::to_string(k)});
  return out;
}

}  // namespace headlight::analysis
