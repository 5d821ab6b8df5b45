#pragma once

#include "analysis/roles/experiment.h"
#include "core/formats/model_file.h"

namespace headlight::cli {

/// What role experiments need of a model's vocabulary and of the shipped texts (data/roles, data/text).
///
/// A model without a tokenizer is asked with tokens drawn at random; `token_plan` of its config.json (planted models)
/// says which. Holds references to `model`.
/// @error not_found, bad_format  of the shipped texts
analysis::RoleInputs make_role_inputs(const formats::ModelFile& model, std::uint64_t seed);

/// Needles that no score was made of, for the causal check.
std::vector<analysis::TextNeedle> load_ablation_needles();

}  // namespace headlight::cli
