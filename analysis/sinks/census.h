#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace headlight::analysis {

/// What one detector says of the tokens of a record.
struct SinkFlag {
  std::string name;
  std::vector<std::uint8_t> token_j;             ///< 1 = flagged, [N]
  std::vector<int> first_layer_j, last_layer_j;  ///< -1 = none; empty = the detector does not know layers
};

/// Agreement of detectors: |A and B| / |A or B| of the flagged tokens, [flags][flags]; NaN where neither flags any.
std::vector<double> jaccard(std::span<const SinkFlag> flags);

}  // namespace headlight::analysis
