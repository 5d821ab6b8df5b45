#include "analysis/row_replay.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace headlight::analysis {

RowReplay::RowReplay(const AnalysisInput& input, const RecordShape& shape, int layer)
    : input_(input),
      layer_(layer),
      head_dim_(shape.head_dim),
      num_heads_(shape.num_heads),
      num_kv_heads_(shape.num_kv_heads),
      geometry_(shape.geometry_l[static_cast<std::size_t>(layer)]) {
  const capture::RecordInfo info = input.capture.record(input.record);
  if (!info.has_replay) throw Error(Errc::invalid_argument, "the capture holds no queries and keys");
  parameters_ = info.header.layers[static_cast<std::size_t>(layer)];
  rows_ = {std::max(info.replay_row_begin, shape.first_key), info.replay_row_end};
  lse_hi_ = input.capture.statistic(input.record, "lse", layer);
}

void RowReplay::open(int head) {
  const int kv_head = head * num_kv_heads_ / num_heads_;
  if (kv_head != kv_head_) {
    k_jd_ = Buffer<float>(static_cast<std::size_t>(geometry_.num_rows * head_dim_));
    input_.capture.read_k(input_.record, layer_, kv_head, 0, geometry_.num_rows, k_jd_.data());
    panel_.pack(k_jd_.data(), geometry_.num_rows, head_dim_);
    kv_head_ = kv_head;
  }
  if (q_id_.empty()) q_id_ = Buffer<float>(static_cast<std::size_t>(rows_.size() * head_dim_));
  if (rows_.size() > 0) input_.capture.read_q(input_.record, layer_, head, rows_.begin, rows_.end, q_id_.data());
  head_ = head;
}

std::span<const float> RowReplay::query(std::int64_t row) const {
  HEADLIGHT_CHECK(row >= rows_.begin && row < rows_.end);
  return {q_id_.data() + (row - rows_.begin) * head_dim_, static_cast<std::size_t>(head_dim_)};
}

std::span<const float> RowReplay::key(std::int64_t key) const {
  return {k_jd_.data() + key * head_dim_, static_cast<std::size_t>(head_dim_)};
}

kernels::KeyRange RowReplay::scores(std::int64_t row, std::vector<float>& score_j) const {
  constexpr std::int64_t kGroup = capture::KeyPanel::kGroup;
  const kernels::KeyRange keys = visible(row);
  score_j.clear();
  if (keys.size() == 0) return keys;
  const std::int64_t first = keys.begin / kGroup, last = (keys.end + kGroup - 1) / kGroup;
  score_j.resize(static_cast<std::size_t>((last - first) * kGroup));
  capture::score_rows(query(row).data(), 1, panel_, first, last, score_j.data(), (last - first) * kGroup);
  score_j.erase(score_j.begin(), score_j.begin() + (keys.begin - first * kGroup));
  score_j.resize(static_cast<std::size_t>(keys.size()));
  const float cap = parameters_.soft_cap;
  for (float& score : score_j) {
    score *= parameters_.scale;
    if (cap > 0.0f) score = cap * std::tanh(score / cap);
  }
  return keys;
}

kernels::KeyRange RowReplay::attention(std::int64_t row, std::vector<float>& attn_j) const {
  const kernels::KeyRange keys = scores(row, attn_j);
  const float lse = lse_hi_[static_cast<std::size_t>(head_ * geometry_.num_rows + row)];
  for (float& value : attn_j) value = std::exp(value - lse);
  return keys;
}

void for_each_sampled_head(const AnalysisInput& input, const RecordShape& shape,
                           const std::function<std::vector<std::int64_t>(kernels::KeyRange rows)>& choose,
                           const std::stop_token& stop, const SampledHeadVisitor& visit) {
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    RowReplay replay(input, shape, layer);
    SampledRows sampled;
    sampled.rows = choose(replay.rows());
    sampled.keys_r.resize(sampled.rows.size());
    sampled.attn_rj.resize(sampled.rows.size());
    for (int head = 0; head < shape.num_heads; ++head) {
      check_stop(stop);
      if (!replay.recorded(head)) continue;
      replay.open(head);
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
