#pragma once

#include <vector>

#include "analysis/roles/experiment.h"

namespace headlight::analysis {

/// What each sentence does to later ones, [m][m]: sentence b is hidden from all later tokens (its keys get no weight in
/// any layer and head, rows are renormalised), the same text is read again, and
///
///     M[a][b] = mean over tokens i of sentence a > b of ln(KL_i + 1e-9)        (suppression_effect() of the logits)
///
/// NaN for a <= b. One forward pass per sentence and one without.
/// @error invalid_argument  a sentence outside the text
/// @see Thought Anchors: Which LLM Reasoning Steps Matter?
std::vector<double> suppress_sentences(const ExperimentContext& context, const std::vector<std::int32_t>& ids,
                                       std::span<const TokenSpan> sentences);

}  // namespace headlight::analysis
