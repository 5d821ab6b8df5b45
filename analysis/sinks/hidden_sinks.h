#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// Which keys of a head are sinks, by the mean attention alpha(j) they receive (column_means()):
///
///     absolute:  alpha(j) > theta                 (theta = 0.1, the released program)
///     relative:  alpha(j) > a / N                 (a = 5, the paper: a times the uniform share)
///
/// The first token is never in the set. The released program instead drops the first key it finds, which loses a real
/// sink where the first token is not one; `drop_first_found` repeats that.
/// Source: Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training through
/// Attention Calibration.
struct HiddenSinkOptions {
  bool relative = false;
  double threshold = 0.1;     ///< theta
  double share = 5.0;         ///< a
  std::int64_t min_rows = 8;  ///< keys seen by fewer rows are never sinks: their mean is noise; 1 = as released
  bool drop_first_found = false;
};

/// @param alpha_hj  [heads][N], NaN = undefined
/// @return [heads][N], 1 = sink
std::vector<std::uint8_t> hidden_sinks(std::span<const double> alpha_hj, const capture::LayerGeometry& geometry,
                                       const HiddenSinkOptions& options = {});

/// Share of each head's attention that goes to its sinks: sum_{j in S} received_j / number of rows. [heads], in [0, 1].
std::vector<double> hidden_sink_mass(std::span<const std::uint8_t> sink_hj, std::span<const float> received_hj,
                                     const capture::LayerGeometry& geometry);

}  // namespace headlight::analysis
