#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "core/capture/capture_sink.h"

namespace headlight::capture {

/// Keys packed for score_rows(): groups of kGroup keys, [groups][dim][kGroup], the last group padded with 0.
class KeyPanel {
 public:
  static constexpr std::int64_t kGroup = 8;

  /// @param k_jd  [num_keys][dim]
  void pack(const float* k_jd, std::int64_t num_keys, std::int64_t dim);

  std::int64_t num_keys() const { return num_keys_; }
  std::int64_t num_groups() const { return (num_keys_ + kGroup - 1) / kGroup; }
  std::int64_t dim() const { return dim_; }
  const float* group(std::int64_t g) const { return packed_.data() + g * dim_ * kGroup; }

 private:
  Buffer<float> packed_;
  std::int64_t num_keys_ = 0, dim_ = 0;
};

/// dot[r][j] = <q_r, k_j> for up to kScoreRows rows and the keys of groups [group_begin, group_end), f32, partial sums
/// of 32 products, so that the rounding error stays far below that of one long chain.
/// @param q_id  [num_rows][dim];  @param out  row stride `stride`, column 0 = first key of group_begin; multiple of
/// kGroup
///              columns are written
constexpr std::int64_t kScoreRows = 4;
void score_rows(const float* q_id, std::int64_t num_rows, const KeyPanel& panel, std::int64_t group_begin,
                std::int64_t group_end, float* out, std::int64_t stride);

/// Dot products of one row to scores, in place: cap(scale dot).
void score_dots(const LayerParameters& parameters, float* row_j, std::int64_t count);

/// Dot products of one row to attention, in place: exp(cap(scale dot) - lse).
void finish_row(const LayerParameters& parameters, float lse, float* row_j, std::int64_t count);

}  // namespace headlight::capture
