#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Rotary frequencies of a layer, half-split pairs (f, f + inv_freq.size()); empty = positions do not rotate.
struct RotaryFrequencies {
  std::vector<double> inv_freq;
  double magnitude = 1.0;  ///< factor on cos and sin
};

/// Turns a query or key back (or forth) by `position`: the first 2 inv_freq.size() channels.
void rotate(std::span<double> x_d, const RotaryFrequencies& rotary, double position);
void rotate_back(std::span<double> x_d, const RotaryFrequencies& rotary, double position);

/// mean_p sum_{j <= p} a_j of a distribution over N keys: 1 when all is on the first, 1/N on the last, (N+1)/(2N)
/// uniform.
double cumulative_area(std::span<const double> attn_j);

/// Where a head looks when content is averaged away: attention of the last of `length` equal queries q over equal keys
/// k, told apart by position only, as cumulative_area(). High = looks far (or at the first token: read it beside the
/// mass there), low = looks near. q and k are means over tokens before rotation.
/// @see DuoAttention on the fly: kvpress
double mean_qk_score(std::span<const double> q_d, std::span<const double> k_d, const RotaryFrequencies& rotary,
                     double scale, std::int64_t length = 500);

}  // namespace headlight::analysis
