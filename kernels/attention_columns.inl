// Statistics that run down the columns: received mass and block maps, from the exponentials of a tile of rows.

#pragma once

#include "kernels/attention_rows.inl"

namespace headlight::kernels {
namespace {

constexpr int kColumnRows = 8;  // rows added together before memory is touched

/// Consecutive rows of one head whose columns go to the same sums. Row r's exponentials start at p + r * stride,
/// column 0 = key `base`; all other pointers are for key 0.
struct ColumnSegment {
  float* p = nullptr;
  std::int64_t stride = 0, base = 0;
  const AttentionRow* rows = nullptr;
  std::int64_t row_step = 0, count = 0;
  float* received = nullptr;
  float* tail = nullptr;       // or null
  float* block_sum = nullptr;  // scratch, or null
  float* block_max = nullptr;

  const AttentionRow& row(std::int64_t r) const { return rows[r * row_step]; }
  float* keys_of(std::int64_t r, std::int64_t j) const { return p + r * stride + (j - base); }
};

/// Rows that see something: exponentials from key `first` on, a multiple of 16.
struct ColumnBatch {
  const float* p[kColumnRows];
  float inverse[kColumnRows];
  std::int64_t count = 0, first = INT64_MAX, last = 0;
};

/// Rows [begin, end) of a segment. Where a row's vectors end before those of the batch it becomes 0.
ColumnBatch make_batch(const ColumnSegment& segment, std::int64_t begin, std::int64_t end) {
  ColumnBatch batch;
  for (std::int64_t r = begin; r < end; ++r) {
    const AttentionRow& row = segment.row(r);
    if (row.begin >= row.end) continue;
    batch.first = smaller(batch.first, lanes_down(row.begin));
    batch.last = larger(batch.last, lanes_up(row.end));
  }
  for (std::int64_t r = begin; r < end; ++r) {
    const AttentionRow& row = segment.row(r);
    if (row.begin >= row.end) continue;
    for (std::int64_t j = batch.first; j < lanes_down(row.begin); j += kLanes)
      store(segment.keys_of(r, j), splat(0.0f));
    for (std::int64_t j = lanes_up(row.end); j < batch.last; j += kLanes) store(segment.keys_of(r, j), splat(0.0f));
    batch.p[batch.count] = segment.keys_of(r, batch.first);
    batch.inverse[batch.count++] = row.inverse;
  }
  return batch;
}

template <int kRows, bool kTail, bool kBlocks>
void add_rows(const ColumnSegment& segment, const ColumnBatch& batch) {
  F16 inverse[kRows];
  for (int r = 0; r < kRows; ++r) inverse[r] = splat(batch.inverse[r]);
  for (std::int64_t j = batch.first; j < batch.last; j += kLanes) {
    const std::int64_t k = j - batch.first;
    F16 sum = multiply(load(batch.p[0] + k), inverse[0]);
    F16 largest = sum;
#pragma GCC unroll 8
    for (int r = 1; r < kRows; ++r) {
      if constexpr (kBlocks) largest = max_of(largest, multiply(load(batch.p[r] + k), inverse[r]));
      sum = multiply_add(load(batch.p[r] + k), inverse[r], sum);
    }
    store(segment.received + j, add(load(segment.received + j), sum));
    if constexpr (kTail) store(segment.tail + j, add(load(segment.tail + j), sum));
    if constexpr (kBlocks) {
      store(segment.block_sum + j, add(load(segment.block_sum + j), sum));
      store(segment.block_max + j, max_of(load(segment.block_max + j), largest));
    }
  }
}

/// With a NaN among the rows: no column that the NaN row does not see may be touched.
void add_rows_with_nan(const ColumnSegment& segment) {
  for (std::int64_t r = 0; r < segment.count; ++r) {
    const AttentionRow& row = segment.row(r);
    for (std::int64_t j = row.begin; j < row.end; ++j) {
      const float attn = *segment.keys_of(r, j) * row.inverse;
      segment.received[j] += attn;
      if (segment.tail != nullptr) segment.tail[j] += attn;
      if (segment.block_sum == nullptr) continue;
      segment.block_sum[j] += attn;
      if (attn > segment.block_max[j] || attn != attn) segment.block_max[j] = attn;
    }
  }
}

void add_columns(const ColumnSegment& segment) {
  for (std::int64_t r = 0; r < segment.count; ++r) {
    const float inverse = segment.row(r).inverse;
    if (inverse != inverse) return add_rows_with_nan(segment);
  }
  for (std::int64_t r = 0; r < segment.count; r += kColumnRows) {
    const ColumnBatch batch = make_batch(segment, r, smaller(segment.count, r + kColumnRows));
    if (batch.count == 0) continue;
    with_constant<kColumnRows>(batch.count, [&](auto rows) {
      constexpr int kRows = decltype(rows)::value;
      if (segment.block_sum != nullptr)
        segment.tail != nullptr ? add_rows<kRows, true, true>(segment, batch)
                                : add_rows<kRows, false, true>(segment, batch);
      else
        segment.tail != nullptr ? add_rows<kRows, true, false>(segment, batch)
                                : add_rows<kRows, false, false>(segment, batch);
    });
  }
}

/// Combines neighbours in place until one value per block of `edge` columns is left.
template <class VectorOp, class Op>
void reduce_blocks(float* x, std::int64_t count, std::int64_t edge, VectorOp vector_op, Op op) {
  for (; edge % 2 == 0; edge /= 2) {
    count /= 2;
    for (std::int64_t k = 0; k < count; k += kLanes)
      store(x + k, combine_pairs(load(x + 2 * k), load(x + 2 * k + kLanes), vector_op));
  }
  if (edge == 1) return;
  for (std::int64_t b = 0; b < count / edge; ++b) {
    float value = x[b * edge];
    for (std::int64_t k = 1; k < edge; ++k) value = op(value, x[b * edge + k]);
    x[b] = value;
  }
}

/// For attention weights: max(a, b), NaN where one is NaN.
HEADLIGHT_INLINE Part larger_or_nan(Part a, Part b) {
  const Part b_or_nan = part_if_less(b, part_splat(2.0f), a, b);
  return part_if_less(a, b, b, b_or_nan);
}

/// Adds the reduced columns of block row `block_row` to the block maps of a head.
void write_blocks(const AttentionCall& call, int head, std::int64_t block_row, std::int64_t first_block,
                  std::int64_t num_blocks, float* sums, float* maxima) {
  const AttentionStatistics& to = *call.statistics;
  const std::int64_t edge = call.plan->block_edge, count = num_blocks * edge, blocks = to.block_count;
  reduce_blocks(
      sums, count, edge, [](Part a, Part b) { return a + b; }, [](float a, float b) { return a + b; });
  reduce_blocks(maxima, count, edge, larger_or_nan, [](float a, float b) { return b > a || b != b ? b : a; });
  const std::int64_t at = (head * blocks + block_row) * blocks + first_block;
  for (std::int64_t b = 0; b < num_blocks; ++b) {
    to.block_sum[at + b] += sums[b];
    if (maxima[b] > to.block_max[at + b] || maxima[b] != maxima[b]) to.block_max[at + b] = maxima[b];
  }
}

/// Number of rows from row r of the segment on, at most `count`, that add to the same sums.
std::int64_t equal_rows(const AttentionCall& call, std::int64_t position, std::int64_t count) {
  const KeyRange tail = call.plan->tail_rows;
  const std::int64_t edge = call.plan->block_edge;
  if (position < tail.begin) count = smaller(count, tail.begin - position);
  if (position >= tail.begin && position < tail.end) count = smaller(count, tail.end - position);
  return edge > 0 ? smaller(count, edge - position % edge) : count;
}

/// A segment with its part of the block map, collected per column first.
void add_columns_and_blocks(const AttentionCall& call, int head, std::int64_t block_row, ColumnSegment& segment,
                            const AttentionScratch& scratch) {
  std::int64_t begin = INT64_MAX, end = 0;
  for (std::int64_t r = 0; r < segment.count; ++r) {
    const AttentionRow& row = segment.row(r);
    if (row.begin >= row.end) continue;
    begin = smaller(begin, lanes_down(row.begin));
    end = larger(end, lanes_up(row.end));
  }
  if (begin >= end) return;
  const std::int64_t edge = call.plan->block_edge, first_block = begin / edge, last_block = (end + edge - 1) / edge;
  float* const sums = scratch.columns;
  float* const maxima = scratch.columns + scratch.columns_stride;
  for (std::int64_t k = 0; k < (last_block - first_block) * edge; ++k) sums[k] = maxima[k] = 0.0f;
  segment.block_sum = sums - first_block * edge;
  segment.block_max = maxima - first_block * edge;
  add_columns(segment);
  // Vectors may reach beyond the last block: there they hold 0.
  const std::int64_t num_blocks = smaller(last_block, call.statistics->block_count) - first_block;
  write_blocks(call, head, block_row, first_block, num_blocks, sums, maxima);
}

/// Columns of `count` rows of one head from call row `row` on. Row r's exponentials start at p + r * stride, column 0 =
/// key `base`; its state is rows[r * row_step].
void accumulate_columns(const AttentionCall& call, int head, std::int64_t row, std::int64_t count, float* p,
                        std::int64_t stride, std::int64_t base, const AttentionRow* rows, std::int64_t row_step,
                        float* received, float* tail, const AttentionScratch& scratch) {
  for (std::int64_t r = 0; r < count;) {
    const std::int64_t position = call.in.query_start + row + r;
    const KeyRange tail_rows = call.plan->tail_rows;
    const bool in_tail = position >= tail_rows.begin && position < tail_rows.end;
    ColumnSegment segment{p + r * stride, stride,
                          base,           rows + r * row_step,
                          row_step,       equal_rows(call, position, count - r),
                          received,       in_tail ? tail : nullptr,
                          nullptr,        nullptr};
    if (call.plan->block_edge == 0)
      add_columns(segment);
    else
      add_columns_and_blocks(call, head, position / call.plan->block_edge, segment, scratch);
    r += segment.count;
  }
}

void tap_row(const AttentionCall& call, int head, std::int64_t position, const float* s, std::int64_t base,
             const AttentionRow& row, const AttentionScratch& scratch) {
  RowTap* const tap = call.plan->tap;
  if (tap == nullptr || !tap->wants(head, position)) return;
  for (std::int64_t j = row.begin; j < row.end; ++j) scratch.columns[j - row.begin] = s[j - base] * row.inverse;
  deliver_row(*tap, head, position, {row.begin, row.end}, scratch.columns);
}

}  // namespace
}  // namespace headlight::kernels
