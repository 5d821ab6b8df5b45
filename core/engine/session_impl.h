#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/engine/runner.h"

namespace headlight::engine {

/// Throws unless every id is in the vocabulary and `cached` + ids fit the model's context.
/// @error invalid_argument, prompt_too_long
void check_tokens(const formats::ModelSpec& spec, std::span<const std::int32_t> ids, std::int64_t cached);

/// A sequence in flight: its tokens so far, and where it is computed.
struct Session::Impl {
  Impl(const Engine::Impl& owner, const SequenceUse& use = {});

  /// Interventions that act on every sequence from its first token on; the session must be empty.
  /// @error unsupported (on a device)
  void intervene(std::span<const intervention::Intervention> stack);

  /// Runs tokens after what is in the cache; afterwards their logits can be had. When the rotary frequencies of the
  /// longer sequence differ from those of the cache (longrope beyond the original context, dynamic NTK), everything is
  /// evaluated again, which an observer does not see: it must not be given then.
  /// The tokens of the first call are the prompt of interventions.
  /// @param request  its start is set here
  void advance(ForwardRequest request);

  /// Logits of rows [first, first + n) of the last advance(), [n][V].
  void logits_of_rows(std::int64_t first, std::int64_t n, float* logits);
  void logits_of_last_row(std::span<float> logits) { logits_of_rows(last_rows - 1, 1, logits.data()); }

  const Engine::Impl& engine;
  std::unique_ptr<Runner> runner;
  std::optional<Edits> edits;
  std::vector<std::int32_t> tokens;  ///< everything evaluated so far
  std::int64_t rope_key = 0;         ///< length key of the rotated keys in the cache
  std::int64_t last_rows = 0;        ///< rows of the last advance()
  std::int64_t rebuilt_rows = 0;     ///< rows that the runner evaluated again before them
};

/// Length key of a whole model: differs when any layer's rotary frequencies differ.
std::int64_t rope_length_key(const formats::ModelSpec& spec, std::int64_t length);

/// Ids after which generation stops; empty without a tokenizer.
std::vector<std::int32_t> end_ids(const Engine::Impl& engine);

}  // namespace headlight::engine
