#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "core/capture/replay.h"
#include "core/capture/replay_head.h"
#include "kernels/row_program_ref.h"

namespace headlight::capture {
namespace {

using kernels::KeyRange;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
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
  double null_logit = kMinusInfinity;
  KeyRange tail_rows;
  const kernels::RowProgram* program = nullptr;  ///< what interventions do to a row
  std::size_t num_segments = 0;
  std::vector<std::int16_t> segment_of_key_j;
  std::int64_t block_edge = 0, block_count = 0;
};

// Sums over rows of one chunk.
struct OracleColumns {
  std::vector<double> received, received_tail, block_sum, block_max;

  OracleColumns(std::int64_t num_keys, std::int64_t block_count)
      : received(static_cast<std::size_t>(num_keys), 0.0),
        received_tail(received),
        block_sum(static_cast<std::size_t>(block_count * block_count), 0.0),
        block_max(block_sum) {}

  void add_row(const OracleSettings& settings, std::int64_t position, KeyRange keys,
               const std::vector<double>& attn_j) {
    const bool in_tail = position >= settings.tail_rows.begin && position < settings.tail_rows.end;
    for (auto j = static_cast<std::size_t>(keys.begin); j < static_cast<std::size_t>(keys.end); ++j) {
      received[j] += attn_j[j];
      if (in_tail) received_tail[j] += attn_j[j];
    }
    if (settings.block_edge == 0) return;
    const std::int64_t row = position / settings.block_edge * settings.block_count;
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      const auto block = static_cast<std::size_t>(row + j / settings.block_edge);
      const double attn = attn_j[static_cast<std::size_t>(j)];
      block_sum[block] += attn;
      block_max[block] = std::max(block_max[block], attn);
    }
  }

  void add(const OracleColumns& other) {
    const auto sum = [](std::vector<double>& to, const std::vector<double>& from) {
      for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
    };
    sum(received, other.received);
    sum(received_tail, other.received_tail);
    sum(block_sum, other.block_sum);
    for (std::size_t i = 0; i < block_max.size(); ++i) block_max[i] = std::max(block_max[i], other.block_max[i]);
  }
};

/// Replaces entries [keys.begin, keys.end) of a row by what `change` makes of them.
template <class Change>
void change_visible(KeyRange keys, std::vector<double>& row_j, const Change& change) {
  std::vector<double> part(row_j.begin() + keys.begin, row_j.begin() + keys.end);
  change(part);
  std::copy(part.begin(), part.end(), row_j.begin() + keys.begin);
}

// Scores of one row in float64.
void score_row(const OracleSettings& settings, std::int64_t position, const float* q_d, const float* k_jd,
               std::int64_t dim, KeyRange keys, std::vector<double>& score_j) {
  const double scale = settings.parameters.scale, cap = settings.parameters.soft_cap;
  std::vector<double> factor_j;
  if (settings.program != nullptr) factor_j = kernels::reference_key_scales(*settings.program, position, keys);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double factor = factor_j.empty() ? 1.0 : factor_j[static_cast<std::size_t>(j - keys.begin)];
    const double score = scale * factor * dot(q_d, k_jd + j * dim, dim);
    score_j[static_cast<std::size_t>(j)] = cap > 0.0 ? cap * std::tanh(score / cap) : score;
  }
  if (settings.program != nullptr)
    change_visible(keys, score_j, [&](std::vector<double>& part) {
      kernels::reference_change_scores(*settings.program, position, keys, part);
    });
}

// Every row statistic of row `position` from its scores; scores become attention.
void reduce_row(const OracleSettings& settings, std::int64_t position, KeyRange keys, std::vector<double>& score_j,
                HeadOracle& out) {
  const auto at = static_cast<std::size_t>(position - settings.row_begin);
  double largest = kMinusInfinity, absmax = 0.0;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double score = score_j[static_cast<std::size_t>(j)];
    if (score > kMinusInfinity) absmax = std::max(absmax, std::abs(score));
    largest = std::max(largest, score);
  }
  const double shift = std::max(largest, settings.null_logit);
  double sum = std::exp(settings.null_logit - shift);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += std::exp(score_j[static_cast<std::size_t>(j)] - shift);
  const double lse = shift + std::log(sum);
  out.lse[at] = lse;
  out.score_absmax[at] = absmax;
  out.null_mass[at] = std::exp(settings.null_logit - lse);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    double& value = score_j[static_cast<std::size_t>(j)];
    value = std::exp(value - lse);
  }
  if (settings.program != nullptr)
    change_visible(keys, score_j, [&](std::vector<double>& attn_j) {
      kernels::reference_change_weights(*settings.program, position, keys, attn_j);
    });
  double entropy = out.null_mass[at] > 0.0 ? out.null_mass[at] * (lse - settings.null_logit) : 0.0;
  out.pmax[at] = -1.0;
  const std::int64_t first = settings.geometry.mask.first_key;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double attn = score_j[static_cast<std::size_t>(j)];
    const auto distance = static_cast<double>(std::abs(position - j));
    out.row_sum[at] += attn;
    if (attn > 0.0) entropy -= attn * std::log(attn);
    if (attn > out.pmax[at]) {
      out.pmax[at] = attn;
      out.jmax[at] = j;
    }
    if (j == first) out.first[at] += attn;
    if (j < first + settings.sink_size) out.sink[at] += attn;
    if (j > position - settings.local_window && j <= position) out.local[at] += attn;
    if (j == position) out.off0[at] += attn;
    if (j == position - 1) out.off1[at] += attn;
    out.dist1[at] += attn * distance;
    out.dist2[at] += attn * distance * distance;
  }
  out.entropy[at] = entropy;
  if (settings.num_segments == 0) return;
  for (std::int64_t j = keys.begin; j < keys.end; ++j)
    if (const int g = settings.segment_of_key_j[static_cast<std::size_t>(j)]; g >= 0)
      out.group_mass_gi[static_cast<std::size_t>(g) * out.lse.size() + at] += score_j[static_cast<std::size_t>(j)];
}

HeadOracle empty_oracle(std::int64_t num_rows, std::size_t num_segments) {
  const std::vector<double> row(static_cast<std::size_t>(num_rows), 0.0);
  HeadOracle out;
  for (auto* values : {&out.entropy, &out.pmax, &out.first, &out.sink, &out.local, &out.dist1, &out.dist2, &out.off0,
                       &out.off1, &out.null_mass, &out.score_absmax, &out.row_sum})
    *values = row;
  out.lse.assign(row.size(), kMinusInfinity);
  out.jmax.assign(row.size(), -1);
  out.group_mass_gi.assign(num_segments * row.size(), 0.0);
  return out;
}

OracleSettings settings_of(const ReplayHead& head, const CaptureView& view, std::int64_t row_begin) {
  const CapturePlan& plan = view.header().plan;
  const RecordInfo record = view.record(head.ref.record);
  OracleSettings settings;
  settings.num_segments = record.header.segments.size();
  for (const TokenInfo& token : record.header.tokens) settings.segment_of_key_j.push_back(token.segment);
  if (record.has_overview) {
    settings.block_edge = record.block_edge;
    settings.block_count = record.block_count;
  }
  settings.parameters = head.parameters;
  settings.geometry = head.geometry;
  settings.sink_size = plan.sink_size;
  settings.local_window = plan.local_window;
  settings.row_begin = row_begin;
  settings.program = head.program();
  if (!head.parameters.null_logit_h.empty())
    settings.null_logit = head.parameters.null_logit_h[static_cast<std::size_t>(head.ref.head)];
  settings.tail_rows = {head.num_prompt_tokens - plan.tail_rows, head.num_prompt_tokens};
  return settings;
}

}  // namespace

HeadOracle recompute_head(const CaptureView& view, const HeadRef& ref, std::int64_t row_begin, std::int64_t row_end,
                          ThreadPool& pool, std::stop_token stop, const OracleRowVisitor& visit) {
  const ReplayHead head = open_replay_head(view, ref, {row_begin, row_end, 0, 0}, false);
  const OracleSettings settings = settings_of(head, view, row_begin);
  const std::int64_t num_rows = row_end - row_begin, num_keys = head.geometry.num_rows, dim = head.head_dim;
  HeadOracle out = empty_oracle(num_rows, settings.num_segments);
  Buffer<float> q_id(static_cast<std::size_t>(num_rows * dim)), k_jd(static_cast<std::size_t>(num_keys * dim));
  view.read_q(ref.record, ref.layer, ref.head, row_begin, row_end, q_id.data());
  view.read_k(ref.record, ref.layer, head.kv_head, 0, num_keys, k_jd.data());

  const std::int64_t chunks = std::min(kChunks, num_rows);
  OracleColumns total(num_keys, settings.block_count);
  std::vector<OracleColumns> columns(static_cast<std::size_t>(chunks), total);
  pool.parallel_for(chunks, [&](std::int64_t chunk, int) {
    std::vector<double> attn_j(static_cast<std::size_t>(num_keys));
    for (std::int64_t n = chunk * num_rows / chunks; n < (chunk + 1) * num_rows / chunks; ++n) {
      check_stop(stop);
      const KeyRange keys = settings.geometry.mask.visible(row_begin + n, num_keys);
      if (keys.size() > 0) {
        score_row(settings, row_begin + n, q_id.data() + n * dim, k_jd.data(), dim, keys, attn_j);
        reduce_row(settings, row_begin + n, keys, attn_j, out);
        columns[static_cast<std::size_t>(chunk)].add_row(settings, row_begin + n, keys, attn_j);
      }
      if (visit) visit(row_begin + n, keys, attn_j);
    }
  });
  for (const OracleColumns& part : columns) total.add(part);
  out.received = std::move(total.received);
  out.received_tail = std::move(total.received_tail);
  out.block_sum = std::move(total.block_sum);
  out.block_max = std::move(total.block_max);
  return out;
}

}  // namespace headlight::capture
