#include "core/engine/topk_tap.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

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

// Probabilities are not negative, so their bit patterns are ordered as they are.
std::int32_t bits_of(float value) {
  return std::bit_cast<std::int32_t>(value);
}

/// Bits of a threshold that at least `count` of the values reach, and at most `slack` more; without slack only values
/// equal to the threshold itself can be too many. Counting needs no branch per value, unlike a partial sort.
std::int32_t threshold_reached_by(std::span<const float> values, std::int64_t count, std::int64_t slack) {
  std::int32_t reached = 0, missed = std::numeric_limits<std::int32_t>::max();
  while (missed - reached > 1) {
    const std::int32_t middle = reached + (missed - reached) / 2;
    std::int32_t number = 0;
    for (const float value : values) number += bits_of(value) >= middle ? 1 : 0;
    (number < count ? missed : reached) = middle;
    if (number >= count && number <= count + slack) break;
  }
  return reached;
}

// Maxima of kLanes interleaved parts: what `count` of them reach, `count` of the values reach.
std::int32_t rough_threshold(std::span<const float> values, std::int64_t count) {
  if (count > static_cast<std::int64_t>(kLanes) || values.size() < 2 * kLanes) return 0;
  std::array<float, kLanes> largest{};
  for (std::size_t k = 0; k + kLanes <= values.size(); k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      largest[lane] = values[k + lane] > largest[lane] ? values[k + lane] : largest[lane];
  return threshold_reached_by(largest, count, kLanes / 8);
}

// Offsets of the `count` largest values, ascending; ties go to the smaller offset.
void find_largest(std::span<const float> values, std::int64_t count, std::vector<std::int32_t>& offsets,
                  std::vector<float>& candidates) {
  offsets.resize(values.size());
  candidates.resize(values.size());
  const std::int32_t rough = rough_threshold(values, count);
  std::size_t kept = 0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    offsets[kept] = static_cast<std::int32_t>(j);
    candidates[kept] = values[j];
    kept += bits_of(values[j]) >= rough ? 1 : 0;
  }
  if (static_cast<std::int64_t>(kept) > count) {
    candidates.resize(kept);
    const std::int32_t threshold = threshold_reached_by(candidates, count, 0);
    std::int64_t ties = count;
    for (const float value : candidates) ties -= bits_of(value) > threshold ? 1 : 0;
    std::size_t best = 0;
    for (std::size_t k = 0; k < kept; ++k) {
      const bool is_tie = bits_of(candidates[k]) == threshold;
      offsets[best] = offsets[k];
      best += bits_of(candidates[k]) > threshold || (is_tie && ties > 0) ? 1 : 0;
      ties -= is_tie ? 1 : 0;
    }
    kept = best;
  }
  offsets.resize(kept);
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
  thread_local std::vector<std::int32_t> best;
  thread_local std::vector<float> candidates;
  find_largest(attn_j, static_cast<std::int64_t>(entries_), best, candidates);
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
