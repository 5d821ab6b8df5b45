#pragma once

#include <span>
#include <vector>

#include "core/engine/forward.h"

namespace headlight::engine {

/// Throws unless every id is in the vocabulary and `cached` + ids fit the model's context.
/// @error invalid_argument, prompt_too_long
void check_tokens(const formats::ModelSpec& spec, std::span<const std::int32_t> ids, std::int64_t cached);

/// A sequence in flight: its cache, its tokens so far, and the memory it computes in.
struct Session::Impl {
  Impl(const Engine::Impl& owner, bool keep_layers = true);

  /// Runs tokens after what is in the cache; afterwards residual() holds their rows. When the rotary frequencies of the
  /// longer sequence differ from those of the cache (longrope beyond the original context, dynamic NTK), everything is
  /// evaluated again, which an observer does not see: it must not be given then.
  void advance(std::span<const std::int32_t> ids, LayerObserver* observer, const ProgressCallback& progress,
               const std::stop_token& stop, std::string_view phase);

  /// Residual before the final norm of the rows of the last advance(), [n][d].
  const float* residual() const { return workspace.x_id.data() + residual_offset; }

  std::int64_t residual_start() const { return static_cast<std::int64_t>(tokens.size()) - residual_rows; }

  void logits_of_last_row(std::span<float> logits);

  const Engine::Impl& engine;
  KvCache cache;
  Workspace workspace;
  std::vector<std::int32_t> tokens;  ///< everything evaluated so far
  std::int64_t rope_key = 0;         ///< length key of the rotated keys in the cache
  std::int64_t residual_offset = 0;  ///< elements
  std::int64_t residual_rows = 0;
};

/// Length key of a whole model: differs when any layer's rotary frequencies differ.
std::int64_t rope_length_key(const formats::ModelSpec& spec, std::int64_t length);

/// Ids after which generation stops; empty without a tokenizer.
std::vector<std::int32_t> end_ids(const Engine::Impl& engine);

}  // namespace headlight::engine
