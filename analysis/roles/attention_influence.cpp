#include "analysis/roles/attention_influence.h"

#include <limits>

namespace headlight::analysis {
namespace {

std::vector<double> losses(const ExperimentContext& context, std::span<const std::vector<std::int32_t>> texts,
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

}  // namespace

std::vector<Influence> attention_influence(const ExperimentContext& context, std::span<const heads::HeadId> heads,
                                           std::span<const std::vector<std::int32_t>> texts) {
  intervention::Stack stack;
  if (!heads.empty()) {
    intervention::Intervention uniform;
    uniform.id = "uniform";
    uniform.method = "attention-replacement";
    uniform.scope.heads.assign(heads.begin(), heads.end());
    uniform.params = {{"kind", "uniform"}};
    stack.push_back(std::move(uniform));
  }
  const auto whole = losses(context, texts, {}), masked = losses(context, texts, std::move(stack));
  std::vector<Influence> out;
  for (std::size_t k = 0; k < texts.size(); ++k)
    out.push_back({whole[k], masked[k],
                   whole[k] > 0 ? (masked[k] - whole[k]) / whole[k] : std::numeric_limits<double>::quiet_NaN()});
  return out;
}

}  // namespace headlight::analysis
