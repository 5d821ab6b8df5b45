#include "analysis/attention_rows.h"

#include <algorithm>

#include "analysis/row_replay.h"
#include "base/error.h"
#include "core/capture/replay_head.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kRowBlock = 256;
constexpr std::int64_t kKeysPerTask = 256;

bool any_weight(std::span<const double> weight_ti, std::int64_t targets, std::int64_t num_rows, std::int64_t begin,
                std::int64_t end) {
  for (std::int64_t t = 0; t < targets; ++t)
    for (std::int64_t i = begin; i < end; ++i)
      if (weight_ti[t * num_rows + i] != 0.0) return true;
  return false;
}

}  // namespace

std::vector<std::int64_t> sample_rows(std::int64_t begin, std::int64_t end, std::int64_t count, std::int64_t tail) {
  std::vector<std::int64_t> rows;
  const std::int64_t available = std::max<std::int64_t>(end - begin, 0);
  count = std::min(count, available);
  tail = std::min(tail, count);
  const std::int64_t spread = count - tail, room = available - tail;
  for (std::int64_t n = 0; n < spread; ++n) rows.push_back(begin + (2 * n + 1) * room / (2 * spread));
  for (std::int64_t i = end - tail; i < end; ++i) rows.push_back(i);
  return rows;
}

std::vector<std::int64_t> sample_replay_rows(const capture::RecordInfo& record, std::int64_t count, std::int64_t tail) {
  const std::int64_t first = record.header.first_key + 1;
  return sample_rows(std::max(record.replay_row_begin, first), std::min(record.replay_row_end, record.num_rows), count,
                     tail);
}

std::vector<float> attention_rows(const capture::CaptureView& view, const capture::HeadRef& ref,
                                  std::span<const std::int64_t> rows, ThreadPool& pool, std::stop_token stop) {
  if (rows.empty()) return {};
  RowReplay replay(view, ref.record, ref.layer, ref.base);
  replay.open(ref.head, rows);
  const std::int64_t num_keys = replay.geometry().num_rows, count = std::ssize(rows);
  std::vector<float> attn_nj(static_cast<std::size_t>(count * num_keys), 0.0f);
  pool.parallel_for(count, [&](std::int64_t n, int) {
    capture::check_stop(stop);
    std::vector<float> attn_j;
    const auto keys = replay.attention(rows[static_cast<std::size_t>(n)], attn_j);
    std::copy(attn_j.begin(), attn_j.end(), attn_nj.begin() + n * num_keys + keys.begin);
  });
  return attn_nj;
}

std::vector<std::uint8_t> add_weighted_columns(const capture::CaptureView& view, const capture::HeadRef& head,
                                               std::int64_t targets, std::span<const double> weight_ti, double scale,
                                               std::span<double> out_tj, ThreadPool& pool, std::stop_token stop,
                                               std::int64_t first_key) {
  const std::int64_t num_rows = view.record(head.record).num_rows;
  HEADLIGHT_CHECK(std::ssize(weight_ti) == targets * num_rows && std::ssize(out_tj) == targets * num_rows);
  std::vector<std::uint8_t> empty_i(num_rows, 0);
  std::vector<float> attn_ij;
  std::vector<double> factor_i(kRowBlock, scale);
  const auto geometry = capture::open_replay_head(view, head, {0, num_rows, 0, num_rows}, true).geometry;
  for (std::int64_t begin = 0; begin < num_rows; begin += kRowBlock) {
    const std::int64_t end = std::min(begin + kRowBlock, num_rows);
    if (!any_weight(weight_ti, targets, num_rows, begin, end)) continue;
    const auto seen = geometry.visible_to_rows(begin, end);
    const std::int64_t first = std::max(seen.begin, first_key), width = std::max<std::int64_t>(seen.end - first, 0);
    attn_ij.resize(static_cast<std::size_t>((end - begin) * width));
    if (width > 0) capture::replay_tile(view, head, {begin, end, first, first + width}, pool, attn_ij, stop);
    if (first_key > 0)
      pool.parallel_for(end - begin, [&](std::int64_t n, int) {
        double left = 0.0;
        for (std::int64_t j = 0; j < width; ++j) left += attn_ij[n * width + j];
        empty_i[begin + n] = left <= 0.0;
        factor_i[n] = left > 0.0 ? scale / left : 0.0;
      });
    pool.parallel_for((width + kKeysPerTask - 1) / kKeysPerTask, [&](std::int64_t task, int) {
      const std::int64_t from = task * kKeysPerTask, to = std::min(from + kKeysPerTask, width);
      for (std::int64_t t = 0; t < targets; ++t)
        for (std::int64_t i = begin; i < end; ++i) {
          const double weight = factor_i[i - begin] * weight_ti[t * num_rows + i];
          if (weight == 0.0) continue;
          const float* attn_j = attn_ij.data() + (i - begin) * width;
          double* sum_j = out_tj.data() + t * num_rows + first;
          for (std::int64_t j = from; j < to; ++j) sum_j[j] += weight * static_cast<double>(attn_j[j]);
        }
    });
  }
  return empty_i;
}

std::vector<int> recorded_heads(const capture::CaptureView& view, std::int64_t record, int layer) {
  std::vector<int> heads;
  for (int h = 0; h < view.header().model.num_heads; ++h)
    if (view.head_recorded(record, layer, h)) heads.push_back(h);
  return heads;
}

}  // namespace headlight::analysis
