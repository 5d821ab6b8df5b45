#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

struct Magnitude {
  std::int64_t token = 0;
  int dim = 0;
  double value = 0.0;  ///< signed
};

/// Magnitudes of one level of hidden states: the three largest entries and the median of |x| over all of them.
struct LevelMagnitudes {
  std::vector<Magnitude> top;      ///< at most 3, descending |value|, ties by (token, dim)
  double median = 0.0;             ///< lower median of |x|; NaN when there is nothing
  std::vector<Magnitude> massive;  ///< every massive entry, by (token, dim)

  double ratio() const;  ///< max |x| / median |x|
};

/// An entry is massive when |x| > min_value and |x| > min_ratio * median.
/// Source: Massive Activations in Large Language Models.
struct MassiveOptions {
  double min_value = 100.0;
  double min_ratio = 1000.0;
};

/// @param x_td  [tokens][dims]
LevelMagnitudes level_magnitudes(std::span<const float> x_td, int num_dims, const MassiveOptions& options = {});

}  // namespace headlight::analysis
