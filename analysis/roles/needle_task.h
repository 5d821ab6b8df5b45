#pragma once

#include "analysis/roles/experiment.h"

namespace headlight::analysis {

/// A longer answer is cut.
inline constexpr std::int64_t kMostAnswerTokens = 50;
inline constexpr std::int64_t kTokenNeedleTokens = 8;

bool can_make_needles(const RoleInputs& inputs);

/// Needle number `index` (texts take turns) in `length` tokens at `depth` in [0, 1].
NeedleSample make_needle(const RoleInputs& inputs, std::size_t index, std::int64_t length, double depth);

/// Tokens to generate: the answer's and a few more, at most kMostAnswerTokens.
std::int64_t answer_budget(const NeedleSample& needle);

/// What was generated, up to the first line break (or stop token, which belongs to it).
std::vector<std::int32_t> answer_of(const RoleInputs& inputs, const NeedleSample& needle,
                                    std::vector<std::int32_t> generated);

/// Recall of the answer, in [0, 1]: words of the text, or for token needles the tokens at their places.
double needle_recall(const RoleInputs& inputs, const NeedleSample& needle, std::span<const std::int32_t> outputs);

}  // namespace headlight::analysis
