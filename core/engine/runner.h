#pragma once

#include <memory>

#include "core/engine/forward.h"

namespace headlight::engine {

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

  /// Logits of rows [first, first + n) of the last forward(), [n][V], soft-capped as the model says.
  /// @param start  position of row `first`, for messages
  /// @error failed (NaN or Inf in the logits)
  virtual void logits(std::int64_t first, std::int64_t n, std::int64_t start, float* logits) = 0;
};

/// Throws Error{unsupported} when the engine computes on a device: `what` needs the CPU in this version.
void require_cpu(const Engine::Impl& engine, std::string_view what);

/// On the engine's device. @param keep_layers  false: enough for a prefill that nothing follows, see KvCache
std::unique_ptr<Runner> make_runner(const Engine::Impl& engine, bool keep_layers);

}  // namespace headlight::engine
