#include "core/capture/replay.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/replay_head.h"
#include "core/capture/score_block.h"
#include "kernels/elementwise.h"
#include "kernels/row_program.h"

namespace headlight::capture {
namespace {

using kernels::KeyRange;

constexpr std::int64_t kKeysPerPanel = 1024;
constexpr std::int64_t kRowsPerRead = 1024;  // rows of q held at a time
constexpr std::int64_t kRowsPerTask = 16;

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

// As finish_row() of a row that interventions changed: steps in the order of the kernel.
void finish_changed_row(const ReplayHead& head, std::int64_t row, KeyRange keys, float* row_j) {
  const kernels::RowProgram& program = *head.program();
  kernels::scale_row_keys(program, row, keys, row_j);
  score_dots(head.parameters, row_j, keys.size());
  kernels::change_row_scores(program, row, keys, row_j, 1.0f);
  kernels::exp_shifted(row_j, keys.size(), 1.0f, head.lse_i[row]);
  kernels::change_row_weights(program, row, keys, row_j);
}

// Rows [begin, end) against the keys of a panel that starts at key `first_key`: emit(row, key, attn_j) for each row
// that sees some of them.
template <class Emit>
void replay_rows(const ReplayHead& head, std::int64_t begin, std::int64_t end, const float* q_id, const KeyPanel& panel,
                 KeyRange keys, float* scratch, const Emit& emit) {
  for (std::int64_t row = begin; row < end; row += kScoreRows) {
    const std::int64_t count = std::min(kScoreRows, end - row);
    const KeyRange seen = head.geometry.visible_to_rows(row, row + count);
    const std::int64_t from = std::max(seen.begin, keys.begin), to = std::min(seen.end, keys.end);
    if (from >= to) continue;
    const std::int64_t group_begin = (from - keys.begin) / KeyPanel::kGroup;
    const std::int64_t group_end = (to - keys.begin + KeyPanel::kGroup - 1) / KeyPanel::kGroup;
    score_rows(q_id + (row - begin) * head.head_dim, count, panel, group_begin, group_end, scratch, kKeysPerPanel);
    const std::int64_t first = keys.begin + group_begin * KeyPanel::kGroup;
    for (std::int64_t r = 0; r < count; ++r) {
      const KeyRange visible = head.geometry.mask.visible(row + r, head.geometry.num_rows);
      const std::int64_t a = std::max(visible.begin, keys.begin), b = std::min(visible.end, keys.end);
      if (a >= b) continue;
      float* const attn_j = scratch + r * kKeysPerPanel + (a - first);
      finish_row(head, row + r, {a, b}, attn_j);
      emit(row + r, a, std::span<const float>(attn_j, static_cast<std::size_t>(b - a)));
    }
  }
}

// Rows that interventions changed. A step may need the whole row, so each row meets all its keys at once; keys of all
// rows are in memory.
template <class Emit>
void for_each_changed_row(const ReplayHead& head, const TileRange& tile, std::int64_t rows_per_task, ThreadPool& pool,
                          const std::stop_token& stop, const Emit& emit) {
  const std::int64_t dim = head.head_dim, step = round_up(kRowsPerRead, rows_per_task);
  Buffer<float> q_id(static_cast<std::size_t>(std::min(step, tile.row_end - tile.row_begin) * dim));
  const KeyRange all = head.geometry.visible_to_rows(tile.row_begin, tile.row_end);
  Buffer<float> k_jd(static_cast<std::size_t>(all.size() * dim));
  head.view.read_k(head.ref.record, head.ref.layer, head.kv_head, all.begin, all.begin + all.size(), k_jd.data());
  KeyPanel panel;
  panel.pack(k_jd.data(), all.size(), dim);
  const std::int64_t stride = round_up(all.size(), KeyPanel::kGroup);
  Buffer<float> scratch(static_cast<std::size_t>(pool.num_threads() * stride));
  for (std::int64_t begin = tile.row_begin; begin < tile.row_end; begin += step) {
    check_stop(stop);
    const std::int64_t end = std::min(begin + step, tile.row_end);
    head.view.read_q(head.ref.record, head.ref.layer, head.ref.head, begin, end, q_id.data());
    pool.parallel_for((end - begin + rows_per_task - 1) / rows_per_task, [&](std::int64_t task, int worker) {
      const std::int64_t first = begin + task * rows_per_task;
      for (std::int64_t row = first; row < std::min(first + rows_per_task, end); ++row) {
        const KeyRange keys = head.geometry.mask.visible(row, head.geometry.num_rows);
        const std::int64_t from = std::max(keys.begin, tile.col_begin), to = std::min(keys.end, tile.col_end);
        if (from >= to) continue;
        float* const score_j = scratch.data() + worker * stride;
        score_rows(q_id.data() + (row - begin) * dim, 1, panel, 0, panel.num_groups(), score_j, stride);
        float* const attn_j = score_j + (keys.begin - all.begin);
        finish_row(head, row, keys, attn_j);
        emit(row, from, std::span<const float>(attn_j + (from - keys.begin), static_cast<std::size_t>(to - from)));
      }
    });
  }
}

// Walks a tile in O(block) memory: blocks of q rows, panels of keys, tasks of `rows_per_task` rows. A row always meets
// its keys in ascending order and inside one task at a time, so emit() may accumulate per task without a lock.
template <class Emit>
void for_each_row_part(const ReplayHead& head, const TileRange& tile, std::int64_t rows_per_task, ThreadPool& pool,
                       const std::stop_token& stop, const Emit& emit) {
  if (head.program() != nullptr) return for_each_changed_row(head, tile, rows_per_task, pool, stop, emit);
  const std::int64_t dim = head.head_dim, step = round_up(kRowsPerRead, rows_per_task);
  Buffer<float> q_id(static_cast<std::size_t>(std::min(step, tile.row_end - tile.row_begin) * dim));
  Buffer<float> k_jd(static_cast<std::size_t>(kKeysPerPanel * dim));
  Buffer<float> scratch(static_cast<std::size_t>(pool.num_threads() * kScoreRows * kKeysPerPanel));
  KeyPanel panel;
  for (std::int64_t begin = tile.row_begin; begin < tile.row_end; begin += step) {
    const std::int64_t end = std::min(begin + step, tile.row_end);
    head.view.read_q(head.ref.record, head.ref.layer, head.ref.head, begin, end, q_id.data());
    const KeyRange seen = head.geometry.visible_to_rows(begin, end);
    const std::int64_t from = std::max(seen.begin, tile.col_begin), to = std::min(seen.end, tile.col_end);
    for (std::int64_t key = from; key < to; key += kKeysPerPanel) {
      check_stop(stop);
      const KeyRange keys{key, std::min(key + kKeysPerPanel, to)};
      head.view.read_k(head.ref.record, head.ref.layer, head.kv_head, keys.begin, keys.end, k_jd.data());
      panel.pack(k_jd.data(), keys.size(), dim);
      pool.parallel_for((end - begin + rows_per_task - 1) / rows_per_task, [&](std::int64_t task, int worker) {
        const std::int64_t first = begin + task * rows_per_task;
        replay_rows(head, first, std::min(first + rows_per_task, end), q_id.data() + (first - begin) * dim, panel, keys,
                    scratch.data() + worker * kScoreRows * kKeysPerPanel, emit);
      });
    }
  }
}

// f(cell, value) with cell = (offset + position) / pool, without a division per value.
template <class F>
void for_each_cell(std::span<const float> values, std::int64_t offset, std::int64_t pool, const F& f) {
  std::int64_t cell = offset / pool, left = pool - offset % pool;
  for (const float value : values) {
    f(cell, value);
    if (--left == 0) {
      ++cell;
      left = pool;
    }
  }
}

}  // namespace

void finish_row(const ReplayHead& head, std::int64_t row, KeyRange keys, float* row_j) {
  if (head.lse_i[row] == -INFINITY)
    std::fill_n(row_j, keys.size(), 0.0f);
  else if (head.program() != nullptr)
    finish_changed_row(head, row, keys, row_j);
  else
    finish_row(head.parameters, head.lse_i[row], row_j, keys.size());
}

void replay_tile(const CaptureView& view, const HeadRef& head, const TileRange& tile, ThreadPool& pool,
                 std::span<float> out, std::stop_token stop) {
  const ReplayHead opened = open_replay_head(view, head, tile, true);
  const std::int64_t cols = tile.col_end - tile.col_begin;
  HEADLIGHT_CHECK(static_cast<std::int64_t>(out.size()) == (tile.row_end - tile.row_begin) * cols);
  std::fill(out.begin(), out.end(), 0.0f);
  for_each_row_part(
      opened, tile, kRowsPerTask, pool, stop, [&](std::int64_t row, std::int64_t key, std::span<const float> attn_j) {
        std::copy(attn_j.begin(), attn_j.end(), out.begin() + (row - tile.row_begin) * cols + (key - tile.col_begin));
      });
}

Buffer<float> replay_pooled(const CaptureView& view, const HeadRef& head, const TileRange& tile, std::int64_t pool_rows,
                            std::int64_t pool_cols, Pooling pooling, ThreadPool& pool, std::stop_token stop) {
  if (pool_rows < 1 || pool_cols < 1)
    throw Error(Errc::invalid_argument, fmt::format("cannot pool over {} x {} cells", pool_rows, pool_cols));
  const ReplayHead opened = open_replay_head(view, head, tile, true);
  const std::int64_t rows = (tile.row_end - tile.row_begin + pool_rows - 1) / pool_rows;
  const std::int64_t cols = (tile.col_end - tile.col_begin + pool_cols - 1) / pool_cols;
  const auto size = static_cast<std::size_t>(rows * cols);
  Buffer<float> out(size, 0.0f);
  Buffer<double> sum(pooling == Pooling::mean ? size : 0, 0.0);
  for_each_row_part(opened, tile, round_up(kRowsPerTask, pool_rows), pool, stop,
                    [&](std::int64_t row, std::int64_t key, std::span<const float> attn_j) {
                      const std::int64_t at = (row - tile.row_begin) / pool_rows * cols;
                      for_each_cell(attn_j, key - tile.col_begin, pool_cols, [&](std::int64_t x, float attn) {
                        const auto cell = static_cast<std::size_t>(at + x);
                        if (pooling == Pooling::max)
                          out[cell] = std::max(out[cell], attn);
                        else
                          sum[cell] += attn;
                      });
                    });
  if (pooling == Pooling::max) return out;
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < cols; ++x) {
      const KeyRange cell_rows{tile.row_begin + y * pool_rows,
                               std::min(tile.row_begin + (y + 1) * pool_rows, tile.row_end)};
      const KeyRange cell_cols{tile.col_begin + x * pool_cols,
                               std::min(tile.col_begin + (x + 1) * pool_cols, tile.col_end)};
      const std::int64_t pairs = opened.geometry.visible_pairs(cell_rows, cell_cols);
      const auto cell = static_cast<std::size_t>(y * cols + x);
      out[cell] = pairs > 0 ? static_cast<float>(sum[cell] / static_cast<double>(pairs)) : 0.0f;
    }
  return out;
}

}  // namespace headlight::capture
