#include "analysis/sinks/value_drain.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {
namespace {

double dot(const double* a, const float* b, int n) {
  double sum = 0.0;
  for (int d = 0; d < n; ++d) sum += a[d] * static_cast<double>(b[d]);
  return sum;
}

double norm(const float* x, int n) {
  double sum = 0.0;
  for (int d = 0; d < n; ++d) sum += static_cast<double>(x[d]) * static_cast<double>(x[d]);
  return std::sqrt(sum);
}

/// Sums over keys [0, j) of k_j, of k_j / |k_j| and of |k_j|.
struct RunningKeys {
  RunningKeys(std::span<const float> k_jd, int dim) : dim_(dim) {
    const auto keys = k_jd.size() / static_cast<std::size_t>(dim);
    sums_.assign((keys + 1) * width(), 0.0);
    for (std::size_t j = 0; j < keys; ++j) {
      const float* key = k_jd.data() + j * static_cast<std::size_t>(dim);
      const double length = norm(key, dim);
      const double* before = &sums_[j * width()];
      double* after = &sums_[(j + 1) * width()];
      for (int d = 0; d < dim; ++d) {
        after[d] = before[d] + static_cast<double>(key[d]);
        after[dim + d] = before[dim + d] + (length > 0 ? static_cast<double>(key[d]) / length : 0.0);
      }
      after[2 * dim] = before[2 * dim] + length;
    }
  }
  /// Means over keys [begin, end): [dim] keys, [dim] directions, length.
  void mean(std::int64_t begin, std::int64_t end, std::vector<double>& out) const {
    out.resize(width());
    for (std::size_t d = 0; d < width(); ++d)
      out[d] =
          (sums_[static_cast<std::size_t>(end) * width() + d] - sums_[static_cast<std::size_t>(begin) * width() + d]) /
          static_cast<double>(end - begin);
  }
  std::size_t width() const { return 2 * static_cast<std::size_t>(dim_) + 1; }

 private:
  int dim_;
  std::vector<double> sums_;
};

}  // namespace

std::vector<double> drain_ratio(std::span<const float> u_norm_hj, std::int64_t num_tokens, std::int64_t first) {
  const auto width = static_cast<std::size_t>(num_tokens);
  std::vector<double> ratio_h;
  for (std::size_t begin = 0; begin + width <= u_norm_hj.size() && width > 0; begin += width) {
    std::vector<float> others;
    for (auto j = static_cast<std::size_t>(first) + 1; j < width; ++j)
      if (!std::isnan(u_norm_hj[begin + j])) others.push_back(u_norm_hj[begin + j]);
    double ratio = kUndefined;
    if (!others.empty()) {
      const auto middle = others.begin() + static_cast<std::ptrdiff_t>((others.size() - 1) / 2);
      std::nth_element(others.begin(), middle, others.end());
      double median = *middle;
      if (others.size() % 2 == 0)
        median = 0.5 * (median + static_cast<double>(*std::min_element(middle + 1, others.end())));
      if (median > 0) ratio = static_cast<double>(u_norm_hj[begin + static_cast<std::size_t>(first)]) / median;
    }
    ratio_h.push_back(ratio);
  }
  return ratio_h;
}

std::vector<double> residual_peak(std::span<const float> norm_lj, std::int64_t num_tokens, std::int64_t first) {
  const auto width = static_cast<std::size_t>(num_tokens);
  std::vector<double> peak_l;
  for (std::size_t begin = 0; begin + width <= norm_lj.size() && width > 0; begin += width) {
    double largest = 0.0;
    for (auto j = static_cast<std::size_t>(first) + 1; j < width; ++j)
      largest = std::max(largest, static_cast<double>(norm_lj[begin + j]));
    peak_l.push_back(largest > 0 ? static_cast<double>(norm_lj[begin + static_cast<std::size_t>(first)]) / largest
                                 : kUndefined);
  }
  return peak_l;
}

SinkLogit sink_logit(std::span<const float> q_id, std::int64_t row_begin, std::span<const float> k_jd, int head_dim,
                     const capture::LayerGeometry& geometry, double scale) {
  const auto width = static_cast<std::size_t>(head_dim);
  const std::int64_t first = geometry.mask.first_key,
                     row_end = row_begin + static_cast<std::int64_t>(q_id.size() / width);
  const RunningKeys running(k_jd, head_dim);
  const float* first_key = k_jd.data() + static_cast<std::size_t>(first) * width;
  SinkLogit sum;
  sum.first_key_norm = norm(first_key, head_dim);
  std::vector<double> mean;
  std::int64_t count = 0;
  for (std::int64_t i = std::max(row_begin, first + 2); i < row_end; ++i) {
    if (geometry.mask.visible(i, geometry.num_rows).begin > first) continue;
    const float* query = q_id.data() + static_cast<std::size_t>(i - row_begin) * width;
    const double length = norm(query, head_dim);
    running.mean(first + 1, i, mean);
    double at_first = 0.0;
    for (int d = 0; d < head_dim; ++d) at_first += static_cast<double>(query[d]) * static_cast<double>(first_key[d]);
    sum.gap += scale * (at_first - dot(mean.data(), query, head_dim));
    sum.query_norm += length;
    sum.other_key_norm += mean[2 * width];
    if (length > 0 && sum.first_key_norm > 0) sum.cos_first += at_first / (length * sum.first_key_norm);
    if (length > 0) sum.cos_other += dot(mean.data() + head_dim, query, head_dim) / length;
    ++count;
  }
  const double n = count > 0 ? static_cast<double>(count) : kUndefined;
  return {sum.gap / n,       sum.query_norm / n, sum.first_key_norm, sum.other_key_norm / n,
          sum.cos_first / n, sum.cos_other / n};
}

}  // namespace headlight::analysis
