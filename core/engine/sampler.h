#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/engine/engine.h"

namespace headlight::engine {

/// Four random words that depend on nothing but counter and key.
/// @see Parallel Random Numbers: As Easy as 1, 2, 3 (Philox 4x32-10)
std::array<std::uint32_t, 4> philox_4x32_10(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// Uniform in [0, 1) with 53 bits for one draw of a record.
double uniform_draw(std::uint64_t seed, std::uint64_t record, std::uint64_t step);

/// @error invalid_argument  temperature negative or not finite, top_p outside (0, 1], top_k negative
void check_sampling(const SamplingOptions& options);

/// Next token of a record at a step, with its log-probability and the entropy under the unmodified distribution.
GeneratedToken sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t record,
                            std::uint64_t step);

}  // namespace headlight::engine
