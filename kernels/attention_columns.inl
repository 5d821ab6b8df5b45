// Statistics that run down the columns: received mass and block maps, from the exponentials of a tile of rows.

#pragma once

#include "kernels/attention_rows.inl"

namespace headlight::kernels {
namespace {

constexpr int kColumnRows = 8;  // rows added together before memory is touched

/// Consecutive rows of one head whose columns go to the same sums. Row r's exponentials start at p + r * stride,
/// column 0 = key `first`, and are 0 where the row sees nothing.
struct ColumnSegment {
  const float* p = nullptr;
  std::int64_t stride = 0, first = 0, last = 0;  // keys, multiples of 16
  const AttentionRow* rows = nullptr;
  std::int64_t row_step = 0, count = 0;
  float* received = nullptr;   // at key `first`
  float* tail = nullptr;       // same, or null
  float* block_sum = nullptr;  // scratch at key `first`, or null
  float* block_max = nullptr;
};

template <int kRows, bool kTail, bool kBlocks>
void add_rows(const ColumnSegment& segment, std::int64_t row) {
  const float* p[kRows];
  F16 inverse[kRows];
  for (int r = 0; r < kRows; ++r) {
    p[r] = segment.p + (row + r) * segment.stride;
    inverse[r] = splat(segment.rows[(row + r) * segment.row_step].inverse);
  }
  const std::int64_t count = segment.last - segment.first;
  for (std::int64_t k = 0; k < count; k += kLanes) {
    F16 attn = multiply(load(p[0] + k), inverse[0]);
    F16 sum = attn, largest = attn;
#pragma GCC unroll 8
    for (int r = 1; r < kRows; ++r) {
      if constexpr (kBlocks) largest = max_of(largest, multiply(load(p[r] + k), inverse[r]));
      sum = multiply_add(load(p[r] + k), inverse[r], sum);
    }
    store(segment.received + k, add(load(segment.received + k), sum));
    if constexpr (kTail) store(segment.tail + k, add(load(segment.tail + k), sum));
    if constexpr (kBlocks) {
      store(segment.block_sum + k, add(load(segment.block_sum + k), sum));
      store(segment.block_max + k, max_of(load(segment.block_max + k), largest));
    }
  }
}

/// With a NaN among the rows: no column that the NaN row does not see may be touched.
void add_rows_with_nan(const ColumnSegment& segment) {
  for (std::int64_t r = 0; r < segment.count; ++r) {
    const AttentionRow& row = segment.rows[r * segment.row_step];
    for (std::int64_t j = row.begin; j < row.end; ++j) {
      const std::int64_t k = j - segment.first;
      const float attn = segment.p[r * segment.stride + k] * row.inverse;
      segment.received[k] += attn;
      if (segment.tail != nullptr) segment.tail[k] += attn;
      if (segment.block_sum == nullptr) continue;
      segment.block_sum[k] += attn;
      if (attn > segment.block_max[k] || attn != attn) segment.block_max[k] = attn;
    }
  }
}

void add_columns(const ColumnSegment& segment) {
  for (std::int64_t r = 0; r < segment.count; ++r) {
    const float inverse = segment.rows[r * segment.row_step].inverse;
    if (inverse != inverse) return add_rows_with_nan(segment);
  }
  for (std::int64_t r = 0; r < segment.count; r += kColumnRows)
    with_constant<kColumnRows>(smaller(kColumnRows, segment.count - r), [&](auto rows) {
      constexpr int kRows = decltype(rows)::value;
      if (segment.block_sum != nullptr)
        segment.tail != nullptr ? add_rows<kRows, true, true>(segment, r) : add_rows<kRows, false, true>(segment, r);
      else
        segment.tail != nullptr ? add_rows<kRows, true, false>(segment, r) : add_rows<kRows, false, false>(segment, r);
    });
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

/// Columns of `count` rows of one head from call row `row` on. p: exponentials of the first row, column 0 = key
/// `first`.
void accumulate_columns(const AttentionCall& call, int head, std::int64_t row, std::int64_t count, const float* p,
                        std::int64_t stride, std::int64_t first, std::int64_t last, const AttentionRow* rows,
                        std::int64_t row_step, float* received, float* tail, const AttentionScratch& scratch) {
  const std::int64_t edge = call.plan->block_edge;
  const KeyRange tail_rows = call.plan->tail_rows;
  for (std::int64_t r = 0; r < count;) {
    const std::int64_t position = call.in.query_start + row + r;
    const bool in_tail = position >= tail_rows.begin && position < tail_rows.end;
    std::int64_t next = count;
    if (in_tail) next = smaller(next, r + tail_rows.end - position);
    if (position < tail_rows.begin) next = smaller(next, r + tail_rows.begin - position);
    if (edge > 0) next = smaller(next, r + edge - position % edge);
    ColumnSegment segment{p + r * stride,
                          stride,
                          first,
                          last,
                          rows + r * row_step,
                          row_step,
                          next - r,
                          received + first,
                          in_tail ? tail + first : nullptr,
                          nullptr,
                          nullptr};
    if (edge == 0) {
      add_columns(segment);
    } else {
      const std::int64_t first_block = first / edge, num_blocks = (last + edge - 1) / edge - first_block;
      float* const sums = scratch.columns;
      float* const maxima = scratch.columns + scratch.columns_stride;
      for (std::int64_t k = 0; k < num_blocks * edge; ++k) sums[k] = maxima[k] = 0.0f;
      segment.block_sum = sums + (first - first_block * edge);
      segment.block_max = maxima + (first - first_block * edge);
      add_columns(segment);
      // Blocks beyond the last key hold nothing.
      write_blocks(call, head, position / edge, first_block,
                   smaller(num_blocks, call.statistics->block_count - first_block), sums, maxima);
    }
    r = next;
  }
}

/// Columns [from, to) of a row become 0: they lie in the tile but not in the row's vectors.
void clear_keys(float* s, std::int64_t base, std::int64_t from, std::int64_t to) {
  for (std::int64_t j = from; j < to; j += kLanes) store(s + (j - base), splat(0.0f));
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
