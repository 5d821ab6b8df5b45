#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "core/capture/capture_sink.h"

namespace headlight::engine {

/// Facts of the rows of one level of the residual stream.
struct HiddenFacts {
  explicit HiddenFacts(std::int64_t rows);
  /// The arrays for a sink, from entry 0.
  capture::HiddenRows rows() const;
  Buffer<float> norm_l2, absmax, mean, rms, cos_first;
  Buffer<std::int32_t> absmax_dim;
};

/// Fills entries [slot, slot + n) from rows x_id [n][d].
/// @param first_d  state of the first token at this level
void hidden_facts(ThreadPool& pool, const float* x_id, std::int64_t n, std::int64_t d, const float* first_d,
                  HiddenFacts& out, std::int64_t slot);

/// Lower median of |x|, exact; long inputs in two passes over the digits of the bit patterns, without a copy.
float median_abs(ThreadPool& pool, const float* x, std::int64_t count);

inline constexpr float kMassiveAbsolute = 100.0f;
inline constexpr float kMassiveOverMedian = 1000.0f;

/// Entries with |x| > 100 and > 1000 x median.
/// @see Massive Activations in Large Language Models
void find_massive(const float* x_id, std::int64_t n, std::int64_t d, std::int64_t start, int level, float median,
                  const float* absmax_i, std::vector<capture::MassiveActivation>& out);

}  // namespace headlight::engine
