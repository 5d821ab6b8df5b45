#include "analysis/entropy/block_entropy.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {

BlockEntropy block_entropy(std::span<const float> block_sum, std::int64_t edge,
                           const capture::LayerGeometry& geometry) {
  const auto blocks = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(block_sum.size()))));
  BlockEntropy out;
  for (std::int64_t bi = 0; bi < blocks; ++bi) {
    const std::int64_t begin = std::max(bi * edge, geometry.mask.first_key),
                       end = std::min((bi + 1) * edge, geometry.num_rows);
    const kernels::KeyRange seen = geometry.visible_to_rows(begin, end);
    if (begin >= end || seen.size() == 0) {
      out.entropy.push_back(kUndefined);
      out.normalized.push_back(kUndefined);
      continue;
    }
    double entropy = 0.0;
    for (std::int64_t bj = 0; bj < blocks; ++bj) {
      const double mass =
          static_cast<double>(block_sum[static_cast<std::size_t>(bi * blocks + bj)]) / static_cast<double>(end - begin);
      entropy -= mass > 0 ? mass * std::log(mass) : 0.0;
    }
    const std::int64_t visible = (seen.end - 1) / edge - seen.begin / edge + 1;
    out.entropy.push_back(std::max(0.0, entropy));
    out.normalized.push_back(visible > 1 ? out.entropy.back() / std::log(static_cast<double>(visible)) : kUndefined);
  }
  return out;
}

}  // namespace headlight::analysis
