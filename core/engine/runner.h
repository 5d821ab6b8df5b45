#pragma once

#include <memory>

#include "core/engine/forward.h"

namespace headlight::engine {

/// Which rows of the map of one head are wanted, recomputed from the keys that the runner holds.
struct MapRows {
  int layer = 0, head = 0;
  std::int64_t first_row = 0, num_rows = 0, num_keys = 0;
  const float* q_ihd = nullptr;  ///< queries of these rows, all heads
  std::int64_t q_stride = 0;
  const float* lse_i = nullptr;                    ///< of these rows
  const kernels::RowProgram* program_h = nullptr;  ///< [H] what interventions do to rows
};

/// What follows on a prompt: decides what is kept.
struct SequenceUse {
  bool rows_follow = true;        ///< false: a prefill that nothing follows
  bool sequences_follow = false;  ///< other sequences of the same model
};

/// Where the layers of one sequence are computed: holds its keys and values, and the rows of the last call.
class Runner {
 public:
  virtual ~Runner() = default;

  virtual std::int64_t capacity() const = 0;  ///< rows that fit the cache
  /// Room for `rows` rows; what is cached stays. @error out_of_memory
  virtual void reserve(std::int64_t rows) = 0;

  /// Runs all layers over the given tokens; the cache must have room.
  /// @error cancelled, failed (NaN or Inf in the residual stream)
  virtual void forward(const ForwardRequest& request) = 0;

  /// Completes the column arrays of wishes that did not need them at once.
  virtual void finish_columns() = 0;

  /// attn_ij [num_rows][num_keys], 0 = invisible. Layers of the sequence's last pass only, where no rows follow.
  virtual void map_rows(const MapRows& rows, float* attn_ij) = 0;

  /// Logits of rows [first, first + n) of the last forward(), [n][V], soft-capped as the model says.
  /// @param start  position of row `first`, for messages
  /// @error failed (NaN or Inf in the logits)
  virtual void logits(std::int64_t first, std::int64_t n, std::int64_t start, float* logits) = 0;
};

/// Throws Error{unsupported} when the engine computes on a device: `what` needs the CPU in this version.
void require_cpu(const Engine::Impl& engine, std::string_view what);

/// On the engine's device.
std::unique_ptr<Runner> make_runner(const Engine::Impl& engine, const SequenceUse& use);

}  // namespace headlight::engine
