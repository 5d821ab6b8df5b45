#pragma once

#include <vector>

#include "analysis/roles/experiment.h"
#include "core/heads/head_id.h"

namespace headlight::analysis {

/// How much a text needs a set of heads.
struct Influence {
  double loss = 0;         ///< mean cross entropy with all heads, nats per token
  double loss_masked = 0;  ///< with the heads' attention spread evenly over what each row sees
  double influence = 0;    ///< (loss_masked - loss) / loss; NaN where the loss is 0
};
/// Scores texts by the heads they need: texts that lose most are those in which the heads are at work. The heads'
/// weights are replaced by the uniform causal average, 1 / (i + 1), not by zeros. An empty set of heads gives 0.
/// @see AttentionInfluence: Adopting Attention Head Influence for Weak-to-Strong Pretraining Data Selection
std::vector<Influence> attention_influence(const ExperimentContext& context, std::span<const heads::HeadId> heads,
                                           std::span<const std::vector<std::int32_t>> texts);

}  // namespace headlight::analysis
