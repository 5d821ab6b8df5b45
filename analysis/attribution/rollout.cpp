#include "analysis/attribution/rollout.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Core>
#include <fmt/format.h>

#include "analysis/attention_rows.h"
#include "base/error.h"
#include "core/capture/replay.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kMaxFullRows = 4096;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

float fuse(HeadFusion fusion, float a, float b) {
  return fusion == HeadFusion::mean ? a + b : fusion == HeadFusion::max ? std::max(a, b) : std::min(a, b);
}

void drop_first(double* row_j, std::int64_t num_rows, std::int64_t first_key, std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < num_rows; ++j) {
    if (j >= first_key && j < first_key + count) row_j[j] = 0.0;
    sum += row_j[j];
  }
  if (sum > 0.0)
    for (std::int64_t j = 0; j < num_rows; ++j) row_j[j] /= sum;
}

// Sets the smallest `share` of the positive entries to 0.
void discard_smallest(std::vector<double>& map_ij, double share) {
  std::vector<double> values;
  for (const double value : map_ij)
    if (value > 0.0) values.push_back(value);
  const auto count = static_cast<std::int64_t>(share * static_cast<double>(values.size()));
  if (count < 1) return;
  std::nth_element(values.begin(), values.begin() + (count - 1), values.end());
  const double limit = values[count - 1];
  for (double& value : map_ij)
    if (value <= limit) value = 0.0;
}

// Mixes a row with the residual; `fill`: what is missing from 1 (heads whose keys were all dropped) stays with the
// token.
void add_residual(double* row_j, std::int64_t num_rows, std::int64_t row, double residual, bool fill) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < num_rows; ++j) {
    sum += row_j[j];
    row_j[j] *= 1.0 - residual;
  }
  row_j[row] += residual + (fill ? (1.0 - residual) * (1.0 - sum) : 0.0);
}

// One step down of the vector route: every head adds its weighted column sums.
std::vector<double> step_down(const capture::CaptureView& view, std::int64_t record, int layer, std::int64_t targets,
                              const std::vector<double>& r_tj, const RolloutOptions& options, ThreadPool& pool,
                              std::stop_token stop) {
  const auto info = view.record(record);
  const std::int64_t n = info.num_rows;
  const std::int64_t first = options.drop_sink > 0 ? std::min(info.header.first_key + options.drop_sink, n) : 0;
  const auto heads = recorded_heads(view, record, layer);
  if (heads.empty())
    throw Error(Errc::invalid_argument,
                fmt::format("layer {} holds no head for replay", view.header().plan.layers[layer]));
  std::vector<double> next_tj(r_tj.size()), own_i(n, options.residual);
  const double share = (1.0 - options.residual) / static_cast<double>(heads.size());
  for (const int h : heads) {
    const auto empty_i =
        add_weighted_columns(view, {record, layer, h}, targets, r_tj, share, next_tj, pool, stop, first);
    for (std::int64_t i = 0; i < n; ++i) own_i[i] += share * empty_i[i];
  }
  for (std::int64_t at = 0; at < std::ssize(r_tj); ++at) next_tj[at] += own_i[at % n] * r_tj[at];
  return next_tj;
}

}  // namespace

std::vector<double> rollout(const capture::CaptureView& view, std::int64_t record,
                            std::span<const std::int64_t> targets, const RolloutOptions& options, ThreadPool& pool,
                            std::stop_token stop) {
  const auto info = view.record(record);
  if (options.fusion != HeadFusion::mean || options.discard > 0.0)
    throw Error(Errc::invalid_argument, "rollout of chosen rows fuses heads by their mean and discards nothing");
  const std::int64_t n = info.num_rows, count = std::ssize(targets);
  std::vector<double> r_tj(count * n, 0.0);
  for (std::int64_t t = 0; t < count; ++t) {
    if (targets[t] < 0 || targets[t] >= n)
      throw Error(Errc::invalid_argument, fmt::format("row {} is outside the record's {} rows", targets[t], n));
    r_tj[t * n + targets[t]] = 1.0;
  }
  for (int l = static_cast<int>(std::ssize(info.header.layers)) - 1; l >= options.start_layer; --l)
    r_tj = step_down(view, record, l, count, r_tj, options, pool, stop);
  return r_tj;
}

std::vector<double> mixed_map(std::span<const float> attn_hij, std::int64_t heads, std::int64_t num_rows,
                              std::int64_t first_key, const RolloutOptions& options) {
  const std::int64_t cells = num_rows * num_rows;
  HEADLIGHT_CHECK(heads > 0 && std::ssize(attn_hij) == heads * cells);
  std::vector<double> map_ij(cells, 0.0);
  for (std::int64_t h = 0; h < heads; ++h) {
    std::vector<double> one(attn_hij.begin() + h * cells, attn_hij.begin() + (h + 1) * cells);
    if (options.drop_sink > 0)
      for (std::int64_t i = 0; i < num_rows; ++i)
        drop_first(one.data() + i * num_rows, num_rows, first_key, options.drop_sink);
    for (std::int64_t c = 0; c < cells; ++c) {
      if (options.fusion == HeadFusion::mean)
        map_ij[c] += one[c] / static_cast<double>(heads);
      else
        map_ij[c] =
            h == 0
                ? one[c]
                : static_cast<double>(fuse(options.fusion, static_cast<float>(map_ij[c]), static_cast<float>(one[c])));
    }
  }
  if (options.discard > 0.0) discard_smallest(map_ij, options.discard);
  for (std::int64_t i = 0; i < num_rows; ++i) {
    double* row_j = map_ij.data() + i * num_rows;
    const bool renormalised = options.fusion != HeadFusion::mean || options.discard > 0.0;
    if (renormalised) drop_first(row_j, num_rows, first_key, 0);
    add_residual(row_j, num_rows, i, options.residual, renormalised || options.drop_sink > 0);
  }
  return map_ij;
}

std::vector<double> captured_mixed_map(const capture::CaptureView& view, std::int64_t record, int layer,
                                       const RolloutOptions& options, ThreadPool& pool, std::stop_token stop) {
  const auto info = view.record(record);
  const auto heads = recorded_heads(view, record, layer);
  if (heads.empty())
    throw Error(Errc::invalid_argument,
                fmt::format("layer {} holds no head for replay", view.header().plan.layers[layer]));
  const std::int64_t cells = info.num_rows * info.num_rows;
  std::vector<float> attn_hij(std::ssize(heads) * cells);
  for (std::int64_t n = 0; n < std::ssize(heads); ++n)
    capture::replay_tile(view, {record, layer, heads[n]}, {0, info.num_rows, 0, info.num_rows}, pool,
                         std::span(attn_hij).subspan(n * cells, cells), stop);
  return mixed_map(attn_hij, std::ssize(heads), info.num_rows, info.header.first_key, options);
}

std::vector<double> full_rollout(const capture::CaptureView& view, std::int64_t record, const RolloutOptions& options,
                                 ThreadPool& pool, std::stop_token stop) {
  const auto info = view.record(record);
  if (info.num_rows > kMaxFullRows)
    throw Error(Errc::invalid_argument,
                fmt::format("full rollout takes at most {} rows, the record has {}", kMaxFullRows, info.num_rows));
  const std::int64_t n = info.num_rows;
  std::vector<double> product(n * n, 0.0);
  for (std::int64_t i = 0; i < n; ++i) product[i * n + i] = 1.0;
  Eigen::Map<Matrix> r(product.data(), n, n);
  for (int l = options.start_layer; l < std::ssize(info.header.layers); ++l) {
    const auto map_ij = captured_mixed_map(view, record, l, options, pool, stop);
    r = (Eigen::Map<const Matrix>(map_ij.data(), n, n) * r).eval();
  }
  return product;
}

}  // namespace headlight::analysis
