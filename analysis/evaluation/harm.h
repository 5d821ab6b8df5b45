#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "analysis/evaluation/option_scores.h"

namespace headlight::analysis {

/// What a change costs where it is not meant to help.
struct Harm {
  double perplexity = 0;      ///< exp of the mean loss on running text
  double induction_loss = 0;  ///< nats per token on the repeat of random tokens, without its first token
  double repetition = 0;      ///< share of the 4-grams of greedy continuations that occurred before in them
  std::int64_t text_tokens = 0, repeat_tokens = 0, generated_tokens = 0;
};

struct HarmOptions {
  std::int64_t context = 256,
               scored = 256;  ///< tokens of a window: read, and then scored with what was found in the first
  std::size_t windows = 16;   ///< most
  std::size_t repeats = 8;
  std::int64_t period = 32;
  std::size_t prompts = 8;  ///< greedy continuations, of `prompt` tokens of the text
  std::int64_t prompt = 32, generated = 64;
};

/// Inputs of the panel; the same for every condition.
struct HarmInputs {
  std::vector<ScoreInput> windows, repeats;
  std::vector<std::vector<std::int32_t>> prompts;
  std::int64_t generated = 0;
};
/// @param text  tokens of a neutral text, without special ones; empty = no text and no continuations
/// @param pool  tokens to draw repeats from
HarmInputs harm_inputs(std::span<const std::int32_t> text, std::span<const std::int32_t> pool,
                       std::optional<std::int32_t> bos, std::uint64_t seed, const HarmOptions& options = {});

/// NaN where there are no inputs.
Harm measure_harm(ModelRunner& runner, const HarmInputs& inputs, const intervention::Stack& stack,
                  std::stop_token stop);
Json to_json(const Harm& harm);

/// Share of the n-grams that occurred before in the same sequence; 0 for sequences shorter than n.
double repeated_share(std::span<const std::int32_t> ids, std::size_t n);

}  // namespace headlight::analysis
