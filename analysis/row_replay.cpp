#include "analysis/row_replay.h"

#include <algorithm>

#include "base/error.h"

namespace headlight::analysis {

RowReplay::RowReplay(const capture::CaptureView& view, std::int64_t record, int layer, bool base)
    : view_(view), record_(record), layer_(layer), base_(base) {
  const capture::RecordInfo info = view.record(record);
  if (!info.has_replay) throw Error(Errc::invalid_argument, "the capture holds no queries and keys");
  geometry_ = capture::layer_geometry(info, layer);
  rows_ = {std::max(info.replay_row_begin, info.header.first_key), std::min(info.replay_row_end, info.num_rows)};
  lse_hi_ = view.statistic(record, base && info.header.rows_changed ? "lse_base" : "lse", layer);
}

void RowReplay::open_keys(int head, kernels::KeyRange rows) {
  head_.emplace(capture::open_replay_head(view_, {record_, layer_, head, base_}, {rows.begin, rows.end, 0, 0}, false));
  head_->lse_i = lse_hi_.data() + head * geometry_.num_rows;
  if (head_->kv_head == kv_head_) return;
  kv_head_ = head_->kv_head;
  k_jd_ = Buffer<float>(static_cast<std::size_t>(geometry_.num_rows * head_->head_dim));
  view_.read_k(record_, layer_, kv_head_, 0, geometry_.num_rows, k_jd_.data());
  panel_.pack(k_jd_.data(), geometry_.num_rows, head_->head_dim);
}

void RowReplay::open(int head) {
  open_keys(head, rows_);
  const auto size = static_cast<std::size_t>(rows_.size() * head_->head_dim);
  if (q_nd_.size() != size) q_nd_ = Buffer<float>(size);
  chosen_.clear();
  if (size > 0) view_.read_q(record_, layer_, head, rows_.begin, rows_.end, q_nd_.data());
}

void RowReplay::open(int head, std::span<const std::int64_t> rows) {
  if (rows.empty()) return open(head);
  // Rows close to each other come with one read and the rows between them: a read costs more than a hundred rows.
  constexpr std::int64_t kGap = 64, kMostRows = 4096;
  open_keys(head, {rows.front(), rows.back() + 1});
  const std::int64_t dim = head_->head_dim;
  chosen_.assign(rows.begin(), rows.end());
  q_nd_ = Buffer<float>(rows.size() * static_cast<std::size_t>(dim));
  Buffer<float> q_id;
  for (std::size_t from = 0, to = 0; from < rows.size(); from = to) {
    const std::int64_t begin = rows[from];
    for (to = from + 1; to < rows.size(); ++to) {
      HEADLIGHT_CHECK(rows[to] > rows[to - 1]);
      if (rows[to] - rows[to - 1] > kGap || rows[to] - begin >= kMostRows) break;
    }
    const std::int64_t end = rows[to - 1] + 1;
    if (const auto size = static_cast<std::size_t>((end - begin) * dim); q_id.size() < size) q_id = Buffer<float>(size);
    view_.read_q(record_, layer_, head, begin, end, q_id.data());
    for (std::size_t n = from; n < to; ++n)
      std::copy_n(q_id.data() + (rows[n] - begin) * dim, dim, q_nd_.data() + static_cast<std::int64_t>(n) * dim);
  }
}

std::span<const float> RowReplay::query(std::int64_t row) const {
  std::int64_t at = row - rows_.begin;
  if (!chosen_.empty()) {
    const auto found = std::lower_bound(chosen_.begin(), chosen_.end(), row);
    HEADLIGHT_CHECK(found != chosen_.end() && *found == row);
    at = found - chosen_.begin();
  }
  const auto dim = static_cast<std::size_t>(head_->head_dim);
  HEADLIGHT_CHECK(at >= 0 && (static_cast<std::size_t>(at) + 1) * dim <= q_nd_.size());
  return {q_nd_.data() + static_cast<std::size_t>(at) * dim, dim};
}

std::span<const float> RowReplay::key(std::int64_t key) const {
  return {k_jd_.data() + key * head_->head_dim, static_cast<std::size_t>(head_->head_dim)};
}

void RowReplay::dots(std::int64_t row, kernels::KeyRange keys, std::vector<float>& dot_j) const {
  constexpr std::int64_t kGroup = capture::KeyPanel::kGroup;
  dot_j.clear();
  if (keys.size() == 0) return;
  const std::int64_t first = keys.begin / kGroup, last = (keys.end + kGroup - 1) / kGroup;
  dot_j.resize(static_cast<std::size_t>((last - first) * kGroup));
  capture::score_rows(query(row).data(), 1, panel_, first, last, dot_j.data(), (last - first) * kGroup);
  dot_j.erase(dot_j.begin(), dot_j.begin() + (keys.begin - first * kGroup));
  dot_j.resize(static_cast<std::size_t>(keys.size()));
}

kernels::KeyRange RowReplay::scores(std::int64_t row, std::vector<float>& score_j) const {
  const kernels::KeyRange keys = visible(row);
  dots(row, keys, score_j);
  capture::score_dots(parameters(), score_j.data(), keys.size());
  return keys;
}

kernels::KeyRange RowReplay::attention(std::int64_t row, std::vector<float>& attn_j) const {
  return attention_near(row, geometry_.num_rows, attn_j);
}

kernels::KeyRange RowReplay::attention_near(std::int64_t row, std::int64_t count, std::vector<float>& attn_j) const {
  const kernels::KeyRange keys = visible(row), near{std::max(keys.begin, keys.end - count), keys.end};
  const kernels::KeyRange wanted = changed() ? keys : near;  // a change may need the whole row
  dots(row, wanted, attn_j);
  if (wanted.size() == 0) return near;
  capture::finish_row(*head_, row, wanted, attn_j.data());
  attn_j.erase(attn_j.begin(), attn_j.end() - near.size());
  return near;
}

void for_each_sampled_head(const AnalysisInput& input, const RecordShape& shape,
                           const std::function<std::vector<std::int64_t>(kernels::KeyRange rows)>& choose,
                           const std::stop_token& stop, const SampledHeadVisitor& visit) {
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    RowReplay replay(input.capture, input.record, layer);
    SampledRows sampled;
    sampled.rows = choose(replay.rows());
    sampled.keys_r.resize(sampled.rows.size());
    sampled.attn_rj.resize(sampled.rows.size());
    for (int head = 0; head < shape.num_heads; ++head) {
      check_stop(stop);
      if (!replay.recorded(head)) continue;
      replay.open(head, sampled.rows);
      input.pool.parallel_for(std::ssize(sampled.rows), [&](std::int64_t r, int) {
        const auto at = static_cast<std::size_t>(r);
        sampled.keys_r[at] = replay.attention(sampled.rows[at], sampled.attn_rj[at]);
      });
      visit(layer, head, sampled);
    }
  }
}

std::vector<std::int64_t> spread_rows(kernels::KeyRange rows, std::int64_t count) {
  std::vector<std::int64_t> chosen;
  const std::int64_t n = std::min(count, rows.size());
  for (std::int64_t k = 1; k <= n; ++k) chosen.push_back(rows.begin + rows.size() * k / n - 1);
  return chosen;
}

}  // namespace headlight::analysis
