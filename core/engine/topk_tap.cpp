#include "core/engine/topk_tap.h"

#include <algorithm>
#include <numeric>

namespace headlight::engine {

TopkTap::TopkTap(std::vector<std::int64_t> positions, int num_heads, int entries)
    : positions_(std::move(positions)),
      entries_(static_cast<std::size_t>(std::max(0, entries))),
      rows_(positions_.size() * static_cast<std::size_t>(num_heads)) {
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    rows_[r].head = static_cast<std::int32_t>(r / positions_.size());
    rows_[r].query = positions_[r % positions_.size()];
  }
}

std::int64_t TopkTap::index_of(std::int64_t position) const {
  const auto at = std::lower_bound(positions_.begin(), positions_.end(), position);
  return at != positions_.end() && *at == position ? at - positions_.begin() : -1;
}

bool TopkTap::wants(int /*head*/, std::int64_t position) const {
  return entries_ > 0 && index_of(position) >= 0;
}

void TopkTap::row(int head, std::int64_t position, kernels::KeyRange keys, std::span<const float> attn_j) {
  capture::TopkRow& out =
      rows_[static_cast<std::size_t>(head) * positions_.size() + static_cast<std::size_t>(index_of(position))];
  // Offsets of the largest entries so far, falling; ties keep the smaller key because only larger values displace.
  std::vector<std::int32_t> best;
  best.reserve(entries_ + 1);
  for (std::size_t j = 0; j < attn_j.size(); ++j) {
    if (best.size() == entries_ && !(attn_j[j] > attn_j[static_cast<std::size_t>(best.back())])) continue;
    const auto place = std::partition_point(best.begin(), best.end(), [&](std::int32_t other) {
      return attn_j[static_cast<std::size_t>(other)] >= attn_j[j];
    });
    best.insert(place, static_cast<std::int32_t>(j));
    if (best.size() > entries_) best.pop_back();
  }
  std::sort(best.begin(), best.end());
  out.keys.clear();
  out.values.clear();
  double mass = std::accumulate(attn_j.begin(), attn_j.end(), 0.0);
  for (const std::int32_t j : best) {
    out.keys.push_back(static_cast<std::int32_t>(keys.begin) + j);
    out.values.push_back(attn_j[static_cast<std::size_t>(j)]);
    mass -= static_cast<double>(out.values.back());
  }
  out.remainder = static_cast<float>(std::max(0.0, mass));
}

const std::vector<capture::TopkRow>& TopkTap::rows(int layer) {
  for (capture::TopkRow& row : rows_) row.layer = layer;
  return rows_;
}

}  // namespace headlight::engine
