// A tile of query rows of the heads that share a KV head: scores, softmax with statistics, output.
// Row r of the tile is query row_begin + r / heads of head head_begin + r % heads.

#pragma once

#include "kernels/attention_columns.inl"

namespace headlight::kernels {
namespace {

HEADLIGHT_INLINE AttentionRow visible_keys(const AttentionCall& call, std::int64_t row) {
  const KeyRange keys = call.in.mask.visible(call.in.query_start + row, call.in.num_keys);
  return {keys.begin, keys.end, 0.0f};
}

/// q * scale, so that the products are base-2 scores, or s / cap where a soft cap follows.
void scale_queries(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin, std::int64_t row_end,
                   float* q) {
  const AttentionInputs& in = call.in;
  const float factor = in.soft_cap > 0.0f ? in.scale / in.soft_cap : in.scale * kLog2E;
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (int h = unit.head_begin; h < unit.head_end; ++h) {
      const float* const from = in.q_ihd + i * in.q_stride + std::int64_t{h} * in.head_dim;
      for (int d = 0; d < in.head_dim; ++d) *q++ = from[d] * factor;
    }
}

void write_output(const AttentionCall& call, int head, std::int64_t row, const AttentionRow& state, const float* sums) {
  float* const out = call.out_ihd + row * call.out_stride + std::int64_t{head} * call.in.head_dim;
  const bool empty = state.begin >= state.end;
  const F16 inverse = splat(state.inverse), zero = splat(0.0f);
  for (std::int64_t d = 0; d < call.in.head_dim; d += kLanes) {
    const F16 y = empty ? zero : multiply(load(sums + d), inverse);
    if (d + kLanes <= call.in.head_dim)
      store(out + d, y);
    else
      store_some(out + d, y, call.in.head_dim - d);
  }
}

template <bool kStatistics>
void finish_tile_rows(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin,
                      std::int64_t row_end, std::int64_t base, std::int64_t stride, const AttentionScratch& scratch) {
  std::int64_t r = 0;
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (int h = unit.head_begin; h < unit.head_end; ++h, ++r) {
      float* const s = scratch.scores + r * stride;
      finish_row<kStatistics>(call, h, i, s, base, scratch.rows[r], kStatistics ? scratch.sums + r : nullptr);
      if constexpr (kStatistics) tap_row(call, h, call.in.query_start + i, s, base, scratch.rows[r], scratch);
    }
}

void find_visible(const AttentionCall& call, std::int64_t row_begin, std::int64_t row_end, int heads,
                  AttentionRow* rows) {
  for (std::int64_t i = row_begin; i < row_end; ++i) {
    const AttentionRow visible = visible_keys(call, i);
    for (int h = 0; h < heads; ++h) {
      rows->begin = visible.begin;
      rows->end = visible.end;
      rows->inverse = 0.0f;
      ++rows;
    }
  }
}

void prefetch_output(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin,
                     std::int64_t row_end) {
  const std::int64_t first = std::int64_t{unit.head_begin} * call.in.head_dim;
  const std::int64_t count = std::int64_t{unit.heads()} * call.in.head_dim;
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (std::int64_t d = 0; d < count; d += kLanes)
      __builtin_prefetch(call.out_ihd + i * call.out_stride + first + d, 1);
}

template <bool kStatistics>
void attend_tile(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin, std::int64_t row_end,
                 const AttentionScratch& scratch, const ColumnPartials& partials) {
  const int heads = unit.heads();
  const std::int64_t num_rows = (row_end - row_begin) * heads, dim = call.in.head_dim;
  find_visible(call, row_begin, row_end, heads, scratch.rows);
  std::int64_t begin, end;
  visible_union(scratch.rows, num_rows, begin, end);
  const std::int64_t base = lanes_down(begin), last = lanes_up(end);
  const std::int64_t stride = last - base + kLanes;  // not a power of two: rows would compete for cache sets
  prefetch_output(call, unit, row_begin, row_end);
  scale_queries(call, unit, row_begin, row_end, scratch.q);
  multiply_scores(scratch.q, dim, scratch.rows, num_rows, call.k_packed + unit.kv_head * call.k_packed_stride, base,
                  last, scratch.scores, stride);
  finish_tile_rows<kStatistics>(call, unit, row_begin, row_end, base, stride, scratch);
  if constexpr (kStatistics) {
    for (int h = 0; h < heads; ++h)
      write_rows(call, unit.head_begin + h, row_begin, row_end - row_begin, scratch.sums + h, heads);
    for (int h = 0; h < heads; ++h)
      accumulate_columns(call, unit.head_begin + h, row_begin, row_end - row_begin, scratch.scores + h * stride,
                         heads * stride, base, scratch.rows + h, heads, partials.received + h * partials.stride,
                         partials.tail == nullptr ? nullptr : partials.tail + h * partials.stride, scratch);
  }
  multiply_values(scratch.scores, stride, base, last, scratch.rows, num_rows,
                  call.v_gjd + unit.kv_head * call.v_head_stride, call.v_row_stride, call.dim_padded, scratch.out);
  std::int64_t r = 0;
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (int h = unit.head_begin; h < unit.head_end; ++h, ++r)
      write_output(call, h, i, scratch.rows[r], scratch.out + r * call.dim_padded);
}

void attend(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin, std::int64_t row_end,
            const AttentionScratch& scratch, const ColumnPartials& partials) {
  if (call.statistics != nullptr)
    attend_tile<true>(call, unit, row_begin, row_end, scratch, partials);
  else
    attend_tile<false>(call, unit, row_begin, row_end, scratch, partials);
}

}  // namespace
}  // namespace headlight::kernels
