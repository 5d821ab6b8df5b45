#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// Entropy of the mass that rows of a block give to blocks of keys:
///
///     M_IJ = mean_{i in I} sum_{j in J} A_ij,   H_I = -sum_J M_IJ ln M_IJ
///
/// `normalized` = H_I / ln(number of visible blocks), NaN for one block. Against the mean entropy of the rows it tells
/// spread over blocks from spread inside a block.
struct BlockEntropy {
  std::vector<double> entropy;     ///< [B], nats; NaN for a block without rows
  std::vector<double> normalized;  ///< [B]
};
/// @param block_sum  sum of A over rows and keys of the block, [B][B];  @param edge  tokens in a block
BlockEntropy block_entropy(std::span<const float> block_sum, std::int64_t edge, const capture::LayerGeometry& geometry);

}  // namespace headlight::analysis
