#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// Where the attention of a row goes: the first S tokens, the last W (self included), or the middle.
///
///     sink_i   = sum_{p <= j < p+S} A_ij
///     recent_i = sum_{i-W < j <= i} A_ij less what is already in sink_i
///     middle_i = 1 - null_mass_i - sink_i - recent_i       (0 where the two ranges meet)
///
/// Means over rows i >= p + S; rows before see nothing else. The three and the learned sink's mass sum to 1.
/// Source: Efficient Streaming Language Models with Attention Sinks.
struct WindowMass {
  std::vector<double> sink_h, recent_h, middle_h;  ///< [heads], NaN when no row counts
};

/// @param sink_hi, local_hi, null_hi  row statistics `sink`, `local`, `null_mass`, [heads][N]
WindowMass window_mass(std::span<const float> sink_hi, std::span<const float> local_hi, std::span<const float> null_hi,
                       const capture::LayerGeometry& geometry, std::int64_t sink_size, std::int64_t local_window);

}  // namespace headlight::analysis
