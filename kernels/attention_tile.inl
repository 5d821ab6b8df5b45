// A tile of query rows of the heads that share a KV head: scores, softmax with statistics, output.
// Row r of the tile is query row_begin + r / heads of head head_begin + r % heads.

#pragma once

#include "kernels/attention_columns.inl"

namespace headlight::kernels {
namespace {

constexpr std::int64_t kL1Bytes = 40 * 1024;  // of a data cache of 48 KB, or what a 32 KB one keeps in its L2

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

/// Where the scores of a tile lie: row r at scores + r * stride, column 0 = key `base`, keys up to `last`.
struct TileScores {
  std::int64_t base = 0, last = 0, stride = 0;
};

void finish_rows(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin, std::int64_t row_end,
                 const TileScores& tile, const AttentionScratch& scratch) {
  std::int64_t r = 0;
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (int h = unit.head_begin; h < unit.head_end; ++h, ++r)
      finish_row<false>(call, h, i, scratch.scores + r * tile.stride, tile.base, scratch.rows[r], nullptr, 0);
}

/// Rows of one head whose columns are added while they are still in the L1: as many as fit there, 8 where none do.
std::int64_t rows_per_visit(const AttentionCall& call, const TileScores& tile) {
  const std::int64_t bytes = tile.stride * static_cast<std::int64_t>(sizeof(float));
  const bool four = call.plan->block_edge == 0 && 8 * bytes > kL1Bytes && 4 * bytes <= kL1Bytes;
  return four ? kColumnRows / 2 : kColumnRows;
}

void finish_rows_with_statistics(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin,
                                 std::int64_t row_end, const TileScores& tile, const AttentionScratch& scratch,
                                 const ColumnPartials& partials) {
  const int heads = unit.heads();
  const std::int64_t step = rows_per_visit(call, tile), count = row_end - row_begin;
  for (std::int64_t begin = row_begin; begin < row_end;) {
    // Aligned positions, so that visits do not cut blocks of the map.
    const std::int64_t end = smaller(row_end, begin + step - (call.in.query_start + begin) % step);
    for (int h = 0; h < heads; ++h) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t r = (i - row_begin) * heads + h;
        float* const s = scratch.scores + r * tile.stride;
        finish_row<true>(call, unit.head_begin + h, i, s, tile.base, scratch.rows[r], scratch.sums,
                         h * count + i - row_begin);
        tap_row(call, unit.head_begin + h, call.in.query_start + i, s, tile.base, scratch.rows[r], scratch);
      }
      const std::int64_t r = (begin - row_begin) * heads + h;
      accumulate_columns(call, unit.head_begin + h, begin, end - begin, scratch.scores + r * tile.stride,
                         heads * tile.stride, tile.base, scratch.rows + r, heads,
                         partials.received + h * partials.stride,
                         partials.tail == nullptr ? nullptr : partials.tail + h * partials.stride, scratch);
    }
    begin = end;
  }
  for (int h = 0; h < heads; ++h) write_rows(call, unit.head_begin + h, row_begin, count, *scratch.sums, h * count);
}

/// Weights of rows that interventions let see other values; the rows are measured by now.
void scale_values(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin, std::int64_t row_end,
                  float* scores, std::int64_t stride, std::int64_t base, const AttentionRow* rows) {
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (int h = unit.head_begin; h < unit.head_end; ++h, ++rows, scores += stride)
      if (rows->begin < rows->end)
        scale_row_values(call.in.program_h[h], call.in.query_start + i, {rows->begin, rows->end},
                         scores + (rows->begin - base));
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

void attend(const AttentionCall& call, const AttentionUnit& unit, std::int64_t row_begin, std::int64_t row_end,
            const AttentionScratch& scratch, const ColumnPartials& partials) {
  const int heads = unit.heads();
  const std::int64_t num_rows = (row_end - row_begin) * heads, dim = call.in.head_dim;
  find_visible(call, row_begin, row_end, heads, scratch.rows);
  std::int64_t begin, end;
  visible_union(scratch.rows, num_rows, begin, end);
  TileScores tile{lanes_down(begin), lanes_up(end), 0};
  tile.stride = tile.last - tile.base + kLanes;  // not a power of two: rows would compete for cache sets
  prefetch_output(call, unit, row_begin, row_end);
  scale_queries(call, unit, row_begin, row_end, scratch.q);
  multiply_scores(scratch.q, dim, scratch.rows, num_rows, call.k_packed + unit.kv_head * call.k_packed_stride,
                  tile.base, tile.last, scratch.scores, tile.stride);
  if (call.statistics != nullptr)
    finish_rows_with_statistics(call, unit, row_begin, row_end, tile, scratch, partials);
  else
    finish_rows(call, unit, row_begin, row_end, tile, scratch);
  if (call.in.program_h != nullptr)
    scale_values(call, unit, row_begin, row_end, scratch.scores, tile.stride, tile.base, scratch.rows);
  multiply_values(scratch.scores, tile.stride, tile.base, tile.last, scratch.rows, num_rows,
                  call.v_gjd + unit.kv_head * call.v_head_stride, call.v_row_stride, call.dim_padded, scratch.out);
  std::int64_t r = 0;
  for (std::int64_t i = row_begin; i < row_end; ++i)
    for (int h = unit.head_begin; h < unit.head_end; ++h, ++r)
      write_output(call, h, i, scratch.rows[r], scratch.out + r * call.dim_padded);
}

}  // namespace
}  // namespace headlight::kernels
