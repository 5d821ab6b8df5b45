#include "core/engine/row_arrays.h"

#include <algorithm>

namespace headlight::engine {
namespace {

using kernels::AttentionStatistics;

// The float row statistics: where the kernel writes one, and where the sink reads it.
struct RowField {
  float* AttentionStatistics::*written;
  const float* capture::LayerRows::*read;
};
constexpr RowField kRowFields[] = {
    {&AttentionStatistics::lse_hi, &capture::LayerRows::lse},
    {&AttentionStatistics::entropy_hi, &capture::LayerRows::entropy},
    {&AttentionStatistics::pmax_hi, &capture::LayerRows::pmax},
    {&AttentionStatistics::first_hi, &capture::LayerRows::first},
    {&AttentionStatistics::sink_hi, &capture::LayerRows::sink},
    {&AttentionStatistics::local_hi, &capture::LayerRows::local},
    {&AttentionStatistics::dist1_hi, &capture::LayerRows::dist1},
    {&AttentionStatistics::dist2_hi, &capture::LayerRows::dist2},
    {&AttentionStatistics::off0_hi, &capture::LayerRows::off0},
    {&AttentionStatistics::off1_hi, &capture::LayerRows::off1},
    {&AttentionStatistics::null_mass_hi, &capture::LayerRows::null_mass},
};
constexpr std::int64_t kNumFields = std::size(kRowFields);

}  // namespace

RowArrays::RowArrays(int num_heads, std::int64_t stride, int num_groups)
    : num_heads_(num_heads),
      stride_(stride),
      plane_(num_heads * stride),
      num_groups_(num_groups),
      values_(static_cast<std::size_t>(plane_ * (kNumFields + num_groups))),
      jmax_(static_cast<std::size_t>(plane_)) {}

std::int64_t RowArrays::bytes(int num_heads, std::int64_t stride, int num_groups) {
  return num_heads * stride * (kNumFields + 1 + num_groups) * std::int64_t{sizeof(float)};
}

AttentionStatistics RowArrays::statistics(std::int64_t slot) {
  AttentionStatistics out;
  out.row_stride = stride_;
  for (std::int64_t f = 0; f < kNumFields; ++f) out.*kRowFields[f].written = values_.data() + f * plane_ + slot;
  out.jmax_hi = jmax_.data() + slot;
  if (num_groups_ > 0) out.group_mass_hig = values_.data() + kNumFields * plane_ + slot * num_groups_;
  return out;
}

void RowArrays::describe(capture::LayerRows& rows) const {
  rows.row_stride = stride_;
  for (std::int64_t f = 0; f < kNumFields; ++f) rows.*kRowFields[f].read = values_.data() + f * plane_;
  rows.jmax = jmax_.data();
  rows.group_mass = num_groups_ > 0 ? values_.data() + kNumFields * plane_ : nullptr;
}

void RowArrays::put(std::int64_t slot, const capture::LayerRows& from) {
  for (std::int64_t h = 0; h < num_heads_; ++h) {
    const std::int64_t to = h * stride_ + slot, at = h * from.row_stride;
    for (std::int64_t f = 0; f < kNumFields; ++f) values_.data()[f * plane_ + to] = (from.*kRowFields[f].read)[at];
    jmax_.data()[to] = from.jmax[at];
    if (num_groups_ > 0)
      std::copy_n(from.group_mass + at * num_groups_, num_groups_,
                  values_.data() + kNumFields * plane_ + to * num_groups_);
  }
}

ColumnArrays::ColumnArrays(int heads, std::int64_t keys, std::int64_t blocks)
    : num_heads(heads),
      num_keys(keys),
      block_count(blocks),
      received(static_cast<std::size_t>(heads * keys)),
      received_tail(static_cast<std::size_t>(heads * keys)),
      block_sum(static_cast<std::size_t>(heads * blocks * blocks)),
      block_max(static_cast<std::size_t>(heads * blocks * blocks)) {}

void ColumnArrays::clear(ThreadPool& pool) {
  pool.parallel_for(num_heads, [&](std::int64_t head, int) {
    for (Buffer<float>* array : {&received, &received_tail})
      std::fill_n(array->data() + head * num_keys, num_keys, 0.0f);
    for (Buffer<float>* array : {&block_sum, &block_max})
      std::fill_n(array->data() + head * block_count * block_count, block_count * block_count, 0.0f);
  });
}

void ColumnArrays::attach(AttentionStatistics& statistics) {
  statistics.col_stride = num_keys;
  statistics.received_hj = received.data();
  statistics.received_tail_hj = received_tail.data();
  statistics.block_count = block_count;
  statistics.block_sum = block_count > 0 ? block_sum.data() : nullptr;
  statistics.block_max = block_count > 0 ? block_max.data() : nullptr;
}

}  // namespace headlight::engine
