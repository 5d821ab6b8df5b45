#pragma once

#include "analysis/roles/experiment.h"

namespace headlight::analysis {

/// `length` tokens of the documents, one after the other, from place part/parts of all there is; wraps around where the
/// texts are short. With the first token that the model expects. Random tokens for a model without tokenizer.
std::vector<std::int32_t> text_prompt(const RoleInputs& inputs, std::size_t part, std::size_t parts,
                                      std::int64_t length);

}  // namespace headlight::analysis
