#include "analysis/roles/attention_influence.h"

#include <limits>

#include "analysis/roles/text_prompt.h"

namespace headlight::analysis {
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
  const auto whole = text_losses(context, texts), masked = text_losses(context, texts, std::move(stack));
  std::vector<Influence> out;
  for (std::size_t k = 0; k < texts.size(); ++k)
    out.push_back({whole[k], masked[k],
                   whole[k] > 0 ? (masked[k] - whole[k]) / whole[k] : std::numeric_limits<double>::quiet_NaN()});
  return out;
}

}  // namespace headlight::analysis
