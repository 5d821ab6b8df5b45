#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "core/capture/replay.h"
#include "core/capture/replay_head.h"

namespace headlight::capture {
namespace {

using kernels::KeyRange;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::int64_t kChunks = 16;  // fixed, so that column sums have the same bits for any thread count

double dot(const float* a, const float* b, std::int64_t dim) {
  double sum[4] = {};
  std::int64_t d = 0;
  for (; d + 4 <= dim; d += 4)
    for (int n = 0; n < 4; ++n) sum[n] += static_cast<double>(a[d + n]) * static_cast<double>(b[d + n]);
  for (; d < dim; ++d) sum[0] += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

struct OracleSettings {
  LayerParameters parameters;
  LayerGeometry geometry;
  std::int64_t sink_size = 4, local_window = 256, row_begin = 0;
  double null_logit = -kInf;
  KeyRange tail_rows;
};

// Scores of one row in float64, largest magnitude and lse.
void score_row(const OracleSettings& settings, const float* q_d, const float* k_jd, std::int64_t dim, KeyRange keys,
               std::vector<double>& score_j) {
  const double scale = settings.parameters.scale, cap = settings.parameters.soft_cap;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double score = scale * dot(q_d, k_jd + j * dim, dim);
    score_j[static_cast<std::size_t>(j)] = cap > 0.0 ? cap * std::tanh(score / cap) : score;
  }
}

// Every row statistic of row `position` from its scores; scores become attention.
void reduce_row(const OracleSettings& settings, std::int64_t position, KeyRange keys, std::vector<double>& score_j,
                HeadOracle& out) {
  const auto at = static_cast<std::size_t>(position - settings.row_begin);
  double largest = -kInf, absmax = 0.0;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double score = score_j[static_cast<std::size_t>(j)];
    absmax = std::max(absmax, std::abs(score));
    if (score > largest) {
      largest = score;
      out.jmax[at] = j;
    }
  }
  const double shift = std::max(largest, settings.null_logit);
  double sum = std::exp(settings.null_logit - shift);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += std::exp(score_j[static_cast<std::size_t>(j)] - shift);
  const double lse = shift + std::log(sum);
  out.lse[at] = lse;
  out.score_absmax[at] = absmax;
  out.pmax[at] = std::exp(largest - lse);
  out.null_mass[at] = std::exp(settings.null_logit - lse);
  double entropy = out.null_mass[at] > 0.0 ? out.null_mass[at] * (lse - settings.null_logit) : 0.0;
  const std::int64_t first = settings.geometry.mask.first_key;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    double& value = score_j[static_cast<std::size_t>(j)];
    const double score = value, attn = std::exp(score - lse);
    const auto distance = static_cast<double>(std::abs(position - j));
    value = attn;
    if (attn > 0.0) entropy += attn * (lse - score);
    if (j == first) out.first[at] += attn;
    if (j < first + settings.sink_size) out.sink[at] += attn;
    if (j > position - settings.local_window && j <= position) out.local[at] += attn;
    if (j == position) out.off0[at] += attn;
    if (j == position - 1) out.off1[at] += attn;
    out.dist1[at] += attn * distance;
    out.dist2[at] += attn * distance * distance;
  }
  out.entropy[at] = entropy;
}

HeadOracle empty_oracle(std::int64_t num_rows, std::int64_t num_keys) {
  const std::vector<double> row(static_cast<std::size_t>(num_rows), 0.0);
  const std::vector<double> column(static_cast<std::size_t>(num_keys), 0.0);
  HeadOracle out;
  for (auto* values : {&out.entropy, &out.pmax, &out.first, &out.sink, &out.local, &out.dist1, &out.dist2, &out.off0,
                       &out.off1, &out.null_mass, &out.score_absmax})
    *values = row;
  out.lse.assign(row.size(), -kInf);
  out.jmax.assign(row.size(), -1);
  out.received = out.received_tail = column;
  return out;
}

OracleSettings settings_of(const ReplayHead& head, const CapturePlan& plan, std::int64_t row_begin) {
  OracleSettings settings;
  settings.parameters = head.parameters;
  settings.geometry = head.geometry;
  settings.sink_size = plan.sink_size;
  settings.local_window = plan.local_window;
  settings.row_begin = row_begin;
  if (!head.parameters.null_logit_h.empty())
    settings.null_logit = head.parameters.null_logit_h[static_cast<std::size_t>(head.ref.head)];
  settings.tail_rows = {head.num_prompt_tokens - plan.tail_rows, head.num_prompt_tokens};
  return settings;
}

}  // namespace

HeadOracle recompute_head(const CaptureView& view, const HeadRef& ref, std::int64_t row_begin, std::int64_t row_end,
                          ThreadPool& pool, std::stop_token stop) {
  const ReplayHead head = open_replay_head(view, ref, {row_begin, row_end, 0, 0}, false);
  const OracleSettings settings = settings_of(head, view.header().plan, row_begin);
  const std::int64_t num_rows = row_end - row_begin, num_keys = head.geometry.num_rows, dim = head.head_dim;
  HeadOracle out = empty_oracle(num_rows, num_keys);
  Buffer<float> q_id(static_cast<std::size_t>(num_rows * dim)), k_jd(static_cast<std::size_t>(num_keys * dim));
  view.read_q(ref.record, ref.layer, ref.head, row_begin, row_end, q_id.data());
  view.read_k(ref.record, ref.layer, head.kv_head, 0, num_keys, k_jd.data());

  const std::int64_t chunks = std::min(kChunks, num_rows);
  std::vector<std::vector<double>> received(static_cast<std::size_t>(chunks)), tail(received);
  pool.parallel_for(chunks, [&](std::int64_t chunk, int) {
    auto& received_j = received[static_cast<std::size_t>(chunk)];
    auto& tail_j = tail[static_cast<std::size_t>(chunk)];
    received_j.assign(static_cast<std::size_t>(num_keys), 0.0);
    tail_j.assign(static_cast<std::size_t>(num_keys), 0.0);
    std::vector<double> attn_j(static_cast<std::size_t>(num_keys));
    for (std::int64_t n = chunk * num_rows / chunks; n < (chunk + 1) * num_rows / chunks; ++n) {
      check_stop(stop);
      const KeyRange keys = settings.geometry.mask.visible(row_begin + n, num_keys);
      if (keys.size() == 0) continue;
      score_row(settings, q_id.data() + n * dim, k_jd.data(), dim, keys, attn_j);
      reduce_row(settings, row_begin + n, keys, attn_j, out);
      const bool in_tail = row_begin + n >= settings.tail_rows.begin && row_begin + n < settings.tail_rows.end;
      for (auto j = static_cast<std::size_t>(keys.begin); j < static_cast<std::size_t>(keys.end); ++j) {
        received_j[j] += attn_j[j];
        if (in_tail) tail_j[j] += attn_j[j];
      }
    }
  });
  for (std::size_t chunk = 0; chunk < received.size(); ++chunk)
    for (std::size_t j = 0; j < out.received.size(); ++j) {
      out.received[j] += received[chunk][j];
      out.received_tail[j] += tail[chunk][j];
    }
  return out;
}

}  // namespace headlight::capture
