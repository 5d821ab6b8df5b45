#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_view.h"
#include "core/capture/replay.h"

namespace headlight::analysis {

/// `count` of the rows [begin, end), ascending: the last `tail` of them, the others evenly spaced over the rows before.
/// All of them when there are no more than `count`.
std::vector<std::int64_t> sample_rows(std::int64_t begin, std::int64_t end, std::int64_t count, std::int64_t tail);

/// sample_rows() of those a record keeps for replay, without row 0 (which sees one key only).
std::vector<std::int64_t> sample_replay_rows(const capture::RecordInfo& record, std::int64_t count, std::int64_t tail);

/// Exact attention of some ascending rows of a head: [rows][num_keys], 0 where nothing is visible. RowReplay as one
/// array.
/// @error invalid_argument  as capture::replay_tile(); cancelled
std::vector<float> attention_rows(const capture::CaptureView& view, const capture::HeadRef& head,
                                  std::span<const std::int64_t> rows, ThreadPool& pool, std::stop_token stop = {});

/// Column sums of a head with T weights per row, in O(N) memory:
///
///     out[t,j] += scale * sum_i weight[t,i] A[i,j]
///
/// With `first_key` > 0 keys before it are left out and every row is divided by what remains of it. Rows whose weights
/// are all 0 are not computed. Sums in float64, the same for any number of threads.
/// @param weight_ti, out_tj  [targets][num_rows]
/// @return per row, 1 = it counted and nothing remained of it (all of its keys are left out)
std::vector<std::uint8_t> add_weighted_columns(const capture::CaptureView& view, const capture::HeadRef& head,
                                               std::int64_t targets, std::span<const double> weight_ti, double scale,
                                               std::span<double> out_tj, ThreadPool& pool, std::stop_token stop = {},
                                               std::int64_t first_key = 0);

/// Recorded heads of a layer (index among the recorded ones), ascending.
std::vector<int> recorded_heads(const capture::CaptureView& view, std::int64_t record, int layer);

}  // namespace headlight::analysis
