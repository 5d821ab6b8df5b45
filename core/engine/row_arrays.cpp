#include "core/engine/row_arrays.h"

#include <algorithm>
#include <functional>
#include <iterator>

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
constexpr std::int64_t kPerTask = 1 << 16;

void for_pieces(ThreadPool& pool, std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  pool.parallel_for((count + kPerTask - 1) / kPerTask,
                    [&](std::int64_t task, int) { body(task * kPerTask, std::min(count, (task + 1) * kPerTask)); });
}

}  // namespace

// Fields, then groups, then jmax.
std::int64_t RowLayout::size() const {
  return plane() * (kNumFields + num_groups + 1);
}

AttentionStatistics RowLayout::statistics(float* memory, std::int64_t slot) const {
  AttentionStatistics out;
  out.row_stride = stride;
  for (std::int64_t f = 0; f < kNumFields; ++f) out.*kRowFields[f].written = memory + f * plane() + slot;
  float* groups = memory + kNumFields * plane();
  if (num_groups > 0) out.group_mass_hig = groups + slot * num_groups;
  out.jmax_hi = reinterpret_cast<std::int32_t*>(groups + plane() * num_groups) + slot;
  return out;
}

void RowLayout::describe(const float* memory, capture::LayerRows& rows) const {
  rows.row_stride = stride;
  for (std::int64_t f = 0; f < kNumFields; ++f) rows.*kRowFields[f].read = memory + f * plane();
  const float* groups = memory + kNumFields * plane();
  rows.group_mass = num_groups > 0 ? groups : nullptr;
  rows.jmax = reinterpret_cast<const std::int32_t*>(groups + plane() * num_groups);
}

void RowLayout::put(float* memory, std::int64_t slot, const capture::LayerRows& from) const {
  const AttentionStatistics to = statistics(memory, slot);
  for (std::int64_t h = 0; h < num_heads; ++h) {
    const std::int64_t at = h * from.row_stride;
    for (const RowField& field : kRowFields) (to.*field.written)[h * stride] = (from.*field.read)[at];
    to.jmax_hi[h * stride] = from.jmax[at];
    if (num_groups > 0)
      std::copy_n(from.group_mass + at * num_groups, num_groups, to.group_mass_hig + h * stride * num_groups);
  }
}

void ColumnLayout::attach(float* memory, AttentionStatistics& statistics) const {
  const std::int64_t blocks = num_heads * block_count * block_count;
  statistics.col_stride = num_keys;
  statistics.received_hj = memory;
  statistics.received_tail_hj = memory + num_heads * num_keys;
  statistics.block_count = block_count;
  statistics.block_sum = blocks > 0 ? memory + 2 * num_heads * num_keys : nullptr;
  statistics.block_max = blocks > 0 ? statistics.block_sum + blocks : nullptr;
}

void ColumnArrays::clear(ThreadPool& pool) {
  for_pieces(pool, layout_.size(), [&](std::int64_t begin, std::int64_t end) {
    std::fill(values_.data() + begin, values_.data() + end, 0.0f);
  });
}

void ColumnArrays::merge(ThreadPool& pool, const float* other) {
  float* mine = values_.data();
  const std::int64_t sums = layout_.size() - layout_.num_heads * layout_.block_count * layout_.block_count;
  for_pieces(pool, layout_.size(), [&](std::int64_t begin, std::int64_t end) {
    std::int64_t k = begin;
    for (; k < std::min(end, sums); ++k) mine[k] += other[k];
    for (; k < end; ++k) mine[k] = std::max(mine[k], other[k]);
  });
}

capture::LayerColumns ColumnArrays::describe() {
  AttentionStatistics arrays;
  attach(arrays);
  capture::LayerColumns out;
  out.col_stride = layout_.num_keys;
  out.received = arrays.received_hj;
  out.received_tail = arrays.received_tail_hj;
  out.block_count = layout_.block_count;
  out.block_sum = arrays.block_sum;
  out.block_max = arrays.block_max;
  return out;
}

}  // namespace headlight::engine
