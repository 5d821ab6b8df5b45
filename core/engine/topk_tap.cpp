#include "core/engine/topk_tap.h"

#include <algorithm>
#include <array>
#include <functional>

namespace headlight::engine {
namespace {

constexpr std::size_t kLanes = 64;

double sum_of(std::span<const float> values) {
  std::array<double, 8> sums{};
  std::size_t k = 0;
  for (; k + 8 <= values.size(); k += 8)
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += static_cast<double>(values[k + lane]);
  for (; k < values.size(); ++k) sums[0] += static_cast<double>(values[k]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// A value that at least `count` entries reach: the count-th largest of the maxima of kLanes interleaved parts.
float reached_by(std::span<const float> values, std::size_t count) {
  if (count > kLanes || values.size() < 2 * kLanes) return 0.0f;  // every probability reaches it
  std::array<float, kLanes> largest{};
  for (std::size_t k = 0; k + kLanes <= values.size(); k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      largest[lane] = values[k + lane] > largest[lane] ? values[k + lane] : largest[lane];
  std::nth_element(largest.begin(), largest.begin() + static_cast<std::ptrdiff_t>(count - 1), largest.end(),
                   std::greater<>());
  return largest[count - 1];
}

// Offsets of the `count` largest values, ascending; ties go to the smaller offset.
std::vector<std::int32_t> largest_offsets(std::span<const float> values, std::size_t count) {
  const float threshold = reached_by(values, count);
  std::vector<std::int32_t> best;
  for (std::size_t j = 0; j < values.size(); ++j)
    if (values[j] >= threshold) best.push_back(static_cast<std::int32_t>(j));
  if (best.size() > count) {
    std::nth_element(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(count), best.end(),
                     [&](std::int32_t a, std::int32_t b) {
                       const float va = values[static_cast<std::size_t>(a)], vb = values[static_cast<std::size_t>(b)];
                       return va != vb ? va > vb : a < b;
                     });
    best.resize(count);
    std::sort(best.begin(), best.end());
  }
  return best;
}

}  // namespace

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
  const std::vector<std::int32_t> best = largest_offsets(attn_j, entries_);
  out.keys.clear();
  out.values.clear();
  double mass = sum_of(attn_j);
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
