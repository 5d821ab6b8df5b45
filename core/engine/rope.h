#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "core/formats/model_spec.h"

namespace headlight::engine {

/// Rotary frequencies of one call: angle(position, j) = position * inv_freq[j]; cos and sin are multiplied by
/// `magnitude`.
struct RopeFrequencies {
  std::vector<float> inv_freq;  ///< [rotary_dim / 2]
  float magnitude = 1.0f;       ///< attention factor of yarn and longrope
};

/// Frequencies for a sequence of `length` tokens in all (cached and new).
/// @see RoFormer; Extending Context Window of Large Language Models via Positional Interpolation; YaRN; LongRoPE
RopeFrequencies rope_frequencies(const formats::RopeSpec& rope, int rotary_dim, std::int64_t context_length,
                                 std::int64_t length);

/// Two lengths with the same key have the same frequencies, so that rotated keys of one stay valid for the other.
///
/// longrope has two keys (within and beyond the original context); dynamic NTK has a key of its own for every length
/// beyond the original context; all other kinds have one.
std::int64_t rope_length_key(const formats::RopeSpec& rope, std::int64_t context_length, std::int64_t length);

/// Fills [n][2 * inv_freq.size()]: cosines then sines of positions first_position ...
void fill_rope_table(ThreadPool& pool, const RopeFrequencies& frequencies, std::int64_t first_position, std::int64_t n,
                     float* cos_sin);

}  // namespace headlight::engine
