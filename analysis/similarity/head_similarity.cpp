#include "analysis/similarity/head_similarity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <Eigen/Core>

#include "analysis/attention_rows.h"
#include "analysis/learning/ranking.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

using MatrixXd = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixXf = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Mean and standard error of values that may be NaN (those are skipped).
struct MeanError {
  double mean = kNaN, error = kNaN;
};
MeanError mean_error(const std::vector<double>& values) {
  double sum = 0, square = 0, n = 0;
  for (const double value : values)
    if (!std::isnan(value)) {
      sum += value;
      ++n;
    }
  if (n == 0) return {};
  for (const double value : values)
    if (!std::isnan(value)) square += (value - sum / n) * (value - sum / n);
  return {sum / n, n > 1 ? std::sqrt(square / (n - 1) / n) : kNaN};
}

// Sampled rows of several maps, compared pair by pair.
struct RowSet {
  std::int64_t rows = 0, keys = 0, first_key = 0;
  std::vector<std::vector<float>> map_nj;  // one per map, empty = absent

  std::vector<double> row(std::size_t map, std::int64_t n, std::int64_t drop) const {
    const float* from = map_nj[map].data() + n * keys;
    std::vector<double> row_j(from, from + keys);
    drop_keys(row_j, first_key, drop);
    return row_j;
  }
};

// out_mean, out_error: [maps][maps].
void compare_all(const RowSet& set, RowMeasure measure, const RowSampleOptions& options, ThreadPool& pool,
                 const std::stop_token& stop, double* out_mean, double* out_error) {
  const auto maps = set.map_nj.size();
  std::vector<std::vector<double>> value_abn(maps * maps, std::vector<double>(set.rows, kNaN));
  pool.parallel_for(set.rows, [&](std::int64_t n, int) {
    if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped");
    std::vector<std::vector<double>> row_mj;
    for (std::size_t m = 0; m < maps; ++m)
      row_mj.push_back(set.map_nj[m].empty() ? std::vector<double>() : set.row(m, n, options.drop_sink));
    const bool symmetric = measure != RowMeasure::recovered_mass;
    for (std::size_t a = 0; a < maps; ++a)
      for (std::size_t b = symmetric ? a : 0; b < maps; ++b) {
        if (row_mj[a].empty() || row_mj[b].empty()) continue;
        const double value = compare_rows(measure, row_mj[a], row_mj[b], options.top_k);
        value_abn[a * maps + b][n] = value;
        if (symmetric) value_abn[b * maps + a][n] = value;
      }
  });
  for (std::size_t at = 0; at < maps * maps; ++at) {
    const MeanError result = mean_error(value_abn[at]);
    out_mean[at] = result.mean;
    out_error[at] = result.error;
  }
}

std::vector<float> head_average(const std::vector<std::vector<float>>& map_nj) {
  std::vector<float> mean;
  std::int64_t count = 0;
  for (const auto& map : map_nj) {
    if (map.empty()) continue;
    if (mean.empty()) mean.assign(map.size(), 0.0f);
    for (std::size_t i = 0; i < map.size(); ++i) mean[i] += map[i];
    ++count;
  }
  for (float& value : mean) value /= static_cast<float>(count);
  return mean;
}

// Outputs of a head on sampled rows: [rows][D].
std::vector<double> head_outputs(const capture::CaptureView& view, const capture::HeadRef& ref,
                                 const std::vector<std::int64_t>& rows, ThreadPool& pool, std::stop_token stop) {
  const auto& model = view.header().model;
  const std::int64_t num_keys = view.record(ref.record).num_rows, dim = model.head_dim;
  const auto attn_nj = attention_rows(view, ref, rows, pool, stop);
  Buffer<float> v_jd(static_cast<std::size_t>(num_keys * dim));
  view.read_v(ref.record, ref.layer, ref.head * model.num_kv_heads / model.num_heads, 0, num_keys, v_jd.data());
  constexpr std::int64_t kRowsPerTask = 16;
  const auto count = std::ssize(rows);
  const MatrixXd v = Eigen::Map<const MatrixXf>(v_jd.data(), num_keys, dim).cast<double>();
  std::vector<double> out_nd(rows.size() * static_cast<std::size_t>(dim), 0.0);
  pool.parallel_for((count + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task, int) {
    const std::int64_t begin = task * kRowsPerTask, some = std::min(kRowsPerTask, count - begin);
    const Eigen::Map<const MatrixXf> attn(attn_nj.data() + begin * num_keys, some, num_keys);
    Eigen::Map<MatrixXd>(out_nd.data() + begin * dim, some, dim) = attn.cast<double>() * v;
  });
  return out_nd;
}

}  // namespace

RowSimilarity row_similarity(const capture::CaptureView& view, std::int64_t record, RowMeasure measure,
                             const RowSampleOptions& options, ThreadPool& pool, std::stop_token stop) {
  const auto info = view.record(record);
  const auto rows = sample_replay_rows(info, options.rows, options.tail);
  const auto layers = std::ssize(view.header().plan.layers);
  const std::int64_t heads = view.header().model.num_heads;
  RowSimilarity out;
  out.rows = std::ssize(rows);
  out.mean_lab.assign(layers * heads * heads, kNaN);
  out.error_lab.assign(layers * heads * heads, kNaN);
  out.layer_mean_lm.assign(layers * layers, kNaN);
  out.layer_error_lm.assign(layers * layers, kNaN);
  RowSet averages{out.rows, info.num_rows, info.header.first_key, {}};
  for (int l = 0; l < layers; ++l) {
    RowSet set{out.rows, info.num_rows, info.header.first_key, {}};
    set.map_nj.resize(heads);
    for (const int h : recorded_heads(view, record, l))
      set.map_nj[h] = attention_rows(view, {record, l, h}, rows, pool, stop);
    const std::int64_t at = l * heads * heads;
    compare_all(set, measure, options, pool, stop, out.mean_lab.data() + at, out.error_lab.data() + at);
    averages.map_nj.push_back(head_average(set.map_nj));
  }
  compare_all(averages, measure, options, pool, stop, out.layer_mean_lm.data(), out.layer_error_lm.data());
  return out;
}

std::vector<double> output_cka(const capture::CaptureView& view, std::int64_t record, std::int64_t rows,
                               ThreadPool& pool, std::stop_token stop) {
  const auto info = view.record(record);
  if (!info.has_values)
    throw Error(Errc::invalid_argument, "the capture holds no values (v): it was made with --no-values");
  const auto sampled = sample_replay_rows(info, rows, 0);
  const auto layers = std::ssize(view.header().plan.layers);
  const std::int64_t heads = view.header().model.num_heads, dim = view.header().model.head_dim;
  std::vector<double> cka_lab(layers * heads * heads, kNaN);
  for (int l = 0; l < layers; ++l) {
    std::vector<std::vector<double>> output_h(heads);
    for (const int h : recorded_heads(view, record, l))
      output_h[h] = head_outputs(view, {record, l, h}, sampled, pool, stop);
    const auto cka_ab = linear_cka_matrix(output_h, dim, pool);
    std::copy(cka_ab.begin(), cka_ab.end(), cka_lab.begin() + l * heads * heads);
  }
  return cka_lab;
}

ProfileSimilarity profile_similarity(const capture::CaptureView& view, std::int64_t record,
                                     const ProfileOptions& options) {
  const auto info = view.record(record);
  const auto layers = std::ssize(view.header().plan.layers);
  const std::int64_t heads = view.header().model.num_heads;
  const std::int64_t begin = info.header.first_key + options.drop_sink;
  std::vector<std::vector<double>> head_rank, layer_rank;
  for (int l = 0; l < layers; ++l) {
    const auto received_hj = view.statistic(record, options.per_row ? "received_mean" : "received", l);
    std::vector<double> total;
    for (std::int64_t h = 0; h < heads; ++h) {
      const float* row_j = received_hj.data() + h * info.num_rows;
      std::vector<double> profile;
      for (std::int64_t j = begin; j < info.num_rows; ++j) profile.push_back(row_j[j]);
      total.resize(profile.size());
      for (std::size_t j = 0; j < profile.size(); ++j) total[j] += profile[j];
      head_rank.push_back(average_ranks(profile));
    }
    layer_rank.push_back(average_ranks(total));
  }
  const auto correlate = [](const std::vector<std::vector<double>>& rank) {
    const auto n = std::ssize(rank);
    std::vector<double> out(n * n, kNaN);
    for (std::int64_t a = 0; a < n; ++a)
      for (std::int64_t b = a; b < n; ++b) out[a * n + b] = out[b * n + a] = pearson(rank[a], rank[b]);
    return out;
  };
  return {correlate(head_rank), correlate(layer_rank)};
}

}  // namespace headlight::analysis
