#pragma once

#include <vector>

#include "analysis/roles/experiment.h"

namespace headlight::analysis {

/// Change of the loss with a gate xi on the output of each head of a layer, at xi = 1, as a difference to one side:
///
///     dL/dxi_h = ( L(1) - L(1 - epsilon) ) / epsilon,    L = mean loss of the text, nats per token
///
/// One run per head and one for all. It equals the loss without the head less the loss with it, turned in sign, where
/// the loss is linear in the head's output. Source: Are Sixteen Heads Really Better than One?
std::vector<double> gate_gradients(const ExperimentContext& context, const std::vector<std::int32_t>& ids, int layer,
                                   double epsilon = 0.05);

/// Values of each layer over the root of the sum of their squares; 0 in a layer of zeros. NaN stay. [L][H]
std::vector<double> normalized_by_layer(std::vector<double> value_lh, int num_heads);

/// Mean over rows of the largest weight on a key behind the first.
double confidence(std::span<const float> attn_ij, std::int64_t num_keys);

}  // namespace headlight::analysis
