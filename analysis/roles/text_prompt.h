#pragma once

#include "analysis/roles/experiment.h"

namespace headlight::analysis {

/// `length` tokens of the documents, one after the other, from place part/parts of all there is; wraps around where the
/// texts are short. With the first token that the model expects. Random tokens for a model without tokenizer.
std::vector<std::int32_t> text_prompt(const RoleInputs& inputs, std::size_t part, std::size_t parts,
                                      std::int64_t length);

/// Mean loss of each text, nats per token, under interventions.
std::vector<double> text_losses(const ExperimentContext& context, std::span<const std::vector<std::int32_t>> texts,
                                intervention::Stack stack = {});

/// Items "layer/input" for experiments that change one layer at a time: every layer with every input.
std::vector<ExperimentItem> layer_items(const capture::ModelInfo& model, std::size_t inputs);

}  // namespace headlight::analysis
