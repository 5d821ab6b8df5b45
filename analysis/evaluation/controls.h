#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "analysis/evaluation/option_scores.h"
#include "base/split_mix.h"

namespace headlight::analysis {

/// Every parameter that has a value that changes nothing set to it.
intervention::Stack identity_of(const intervention::Stack& stack);

/// The heads that an intervention names, in the layers that it names; empty = all heads of its layers, or of the model.
std::vector<heads::HeadId> heads_named(const intervention::Intervention& entry, const heads::HeadGrid& grid);

/// The same operators on as many heads of the same layers, drawn outside those that the stack names (see
/// matched_draw()); entries that share a head share the drawn one. Nothing where a stack names no heads, more than half
/// of them, or gives a parameter a value for every head.
std::optional<intervention::Stack> on_random_heads(const intervention::Stack& stack, const heads::HeadGrid& grid,
                                                   SplitMix64& random);

/// Whether what a stack does to the first token can be done to another one.
bool acts_on_first_token(const intervention::Stack& stack);
/// The same on a token drawn among the others of each prompt.
Arm on_random_token(const intervention::Stack& stack, std::uint64_t seed);

/// Spans "{evidence}" moved to "{decoy}"; nothing where there are none.
std::optional<intervention::Stack> on_wrong_span(const intervention::Stack& stack);

/// Attention temperature on the heads of a stack.
intervention::Stack temperature_instead(const intervention::Stack& stack, const heads::HeadGrid& grid, double tau);

/// The tau for which temperature_instead() changes the mean entropy of the next token as much as the stack does:
/// bisection in ln tau between 1 and 1/4, or 1 and 4. Where neither end reaches it, `matched` is false and tau is the
/// end that comes closer (1 where both lead away).
struct MatchedTemperature {
  double tau = 1.0;
  bool matched = false;
  double wanted = 0, reached = 0;  ///< change of the mean entropy, nats
};
MatchedTemperature match_temperature(ModelRunner& runner, std::span<const PreparedItem> items,
                                     const intervention::Stack& stack, std::stop_token stop);

}  // namespace headlight::analysis
