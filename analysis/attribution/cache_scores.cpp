#include "analysis/attribution/cache_scores.h"

#include <algorithm>

#include "analysis/attention_rows.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

std::vector<double> head_row(const Buffer<float>& value_hj, std::int64_t head, std::int64_t num_rows) {
  return {value_hj.begin() + head * num_rows, value_hj.begin() + (head + 1) * num_rows};
}

void add_share(std::vector<double>& sum_lj, std::int64_t offset, std::span<const double> value_j, double share) {
  for (std::int64_t j = 0; j < std::ssize(value_j); ++j) sum_lj[offset + j] += share * value_j[j];
}

}  // namespace

std::vector<double> snapkv_votes(std::span<const double> received_tail_j, std::int64_t window_begin, int kernel,
                                 VotePooling pooling) {
  if (kernel < 1 || kernel % 2 == 0) throw Error(Errc::invalid_argument, "the pooling kernel is an odd number");
  const std::int64_t half = kernel / 2, end = std::min<std::int64_t>(window_begin, std::ssize(received_tail_j));
  std::vector<double> vote_j(received_tail_j.size(), 0.0);
  for (std::int64_t j = 0; j < end; ++j) {
    double sum = 0.0, most = 0.0;
    for (std::int64_t n = std::max<std::int64_t>(0, j - half); n <= std::min(j + half, end - 1); ++n) {
      sum += received_tail_j[n];
      most = std::max(most, received_tail_j[n]);
    }
    vote_j[j] = pooling == VotePooling::average ? sum / kernel : most;
  }
  return vote_j;
}

CacheScores cache_scores(const capture::CaptureView& view, std::int64_t record, const CacheScoreOptions& options,
                         ThreadPool& pool, std::stop_token stop) {
  const auto info = view.record(record);
  const auto layers = std::ssize(view.header().plan.layers);
  const std::int64_t heads = view.header().model.num_heads, n = info.num_rows;
  const std::int64_t window = std::max<std::int64_t>(info.header.num_prompt_tokens - view.header().plan.tail_rows, 0);
  const bool replays_last = info.has_replay && info.replay_row_end == n;
  CacheScores out;
  for (auto* values : {&out.h2o_lj, &out.per_row_lj, &out.snapkv_lj}) values->assign(layers * n, 0.0);
  if (replays_last) out.tova_lj.assign(layers * n, 0.0);
  const double share = 1.0 / static_cast<double>(heads);
  for (int l = 0; l < layers; ++l) {
    const auto received = view.statistic(record, "received", l), mean = view.statistic(record, "received_mean", l);
    const auto tail = view.statistic(record, "received_tail", l);
    for (std::int64_t h = 0; h < heads; ++h) {
      add_share(out.h2o_lj, l * n, head_row(received, h, n), share);
      add_share(out.per_row_lj, l * n, head_row(mean, h, n), share);
      add_share(out.snapkv_lj, l * n, snapkv_votes(head_row(tail, h, n), window, options.kernel, options.pooling),
                share);
    }
    if (!replays_last) continue;
    const auto recorded = recorded_heads(view, record, l);
    for (const int h : recorded) {
      const std::int64_t last = n - 1;
      const auto row = attention_rows(view, {record, l, h}, std::span(&last, 1), pool, stop);
      const std::vector<double> row_j(row.begin(), row.end());
      add_share(out.tova_lj, l * n, row_j, 1.0 / static_cast<double>(recorded.size()));
    }
  }
  return out;
}

}  // namespace headlight::analysis
