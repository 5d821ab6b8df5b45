#include "analysis/attribution/norm_weighted.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <Eigen/Core>

#include "base/error.h"

namespace headlight::analysis {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void divide_by_sum(std::span<double> values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  if (sum > 0.0)
    for (double& value : values) value /= sum;
}

// gain * (z - mean(z)) on every vector of [count][width].
void centre_and_scale(std::span<double> z_nd, std::int64_t width, const std::vector<double>& gain_d) {
  for (std::int64_t begin = 0; begin < std::ssize(z_nd); begin += width) {
    const auto z_d = z_nd.subspan(begin, width);
    const double mean = std::accumulate(z_d.begin(), z_d.end(), 0.0) / static_cast<double>(width);
    for (std::int64_t d = 0; d < width; ++d) z_d[d] = (gain_d.empty() ? 1.0 : gain_d[d]) * (z_d[d] - mean);
  }
}

// Vectors of key j of all heads, [H][d].
Matrix vectors_of_key(std::span<const double> u_hjd, std::int64_t heads, std::int64_t num_rows, std::int64_t width,
                      std::int64_t j) {
  Matrix u_hd(heads, width);
  for (std::int64_t h = 0; h < heads; ++h)
    u_hd.row(h) = Eigen::Map<const Eigen::RowVectorXd>(u_hjd.data() + (h * num_rows + j) * width, width);
  return u_hd;
}

}  // namespace

NormWeighted norm_weighted(const capture::CaptureView& view, std::int64_t record) {
  const auto info = view.record(record);
  const auto layers = std::ssize(view.header().plan.layers);
  const std::int64_t heads = view.header().model.num_heads, n = info.num_rows, first = info.header.first_key;
  const auto u_norm_lhj = view.hidden(record, "u_norm");
  NormWeighted out;
  out.raw_j.assign(n, 0.0);
  out.weighted_j.assign(n, 0.0);
  const double share = 1.0 / static_cast<double>(layers * heads);
  for (int l = 0; l < layers; ++l) {
    const auto received_hj = view.statistic(record, "received", l);
    for (std::int64_t h = 0; h < heads; ++h) {
      std::vector<double> raw(received_hj.begin() + h * n, received_hj.begin() + (h + 1) * n), weighted = raw;
      for (std::int64_t j = 0; j < n; ++j) weighted[j] *= u_norm_lhj[(l * heads + h) * n + j];
      divide_by_sum(raw);
      divide_by_sum(weighted);
      out.first_raw_lh.push_back(raw[first]);
      out.first_weighted_lh.push_back(weighted[first]);
      for (std::int64_t j = 0; j < n; ++j) {
        out.raw_j[j] += share * raw[j];
        out.weighted_j[j] += share * weighted[j];
      }
    }
  }
  return out;
}

std::vector<double> layer_norms(std::span<const float> attn_hij, std::span<const double> u_hjd,
                                std::span<const double> x_jd, std::int64_t num_heads, std::int64_t num_rows,
                                std::int64_t width) {
  const std::int64_t n = num_rows;
  HEADLIGHT_CHECK(std::ssize(attn_hij) == num_heads * n * n && std::ssize(u_hjd) == num_heads * n * width &&
                  (x_jd.empty() || std::ssize(x_jd) == n * width));
  std::vector<double> norm_ij(n * n, 0.0);
  for (std::int64_t j = 0; j < n; ++j) {
    const Matrix u_hd = vectors_of_key(u_hjd, num_heads, n, width, j);
    const Matrix gram_hk = u_hd * u_hd.transpose();
    for (std::int64_t i = 0; i < n; ++i) {
      Eigen::VectorXd a_h(num_heads);
      for (std::int64_t h = 0; h < num_heads; ++h) a_h[h] = attn_hij[(h * n + i) * n + j];
      double square = a_h.dot(gram_hk * a_h);
      if (i == j && !x_jd.empty()) {
        const Eigen::Map<const Eigen::VectorXd> x_d(x_jd.data() + j * width, width);
        square += 2.0 * a_h.dot(u_hd * x_d) + x_d.squaredNorm();
      }
      norm_ij[i * n + j] = std::sqrt(std::max(square, 0.0));
    }
  }
  return norm_ij;
}

std::vector<double> mixing_ratio(std::span<const float> attn_hij, std::span<const double> u_hjd,
                                 std::span<const double> x_jd, std::int64_t num_heads, std::int64_t num_rows,
                                 std::int64_t width) {
  const std::int64_t n = num_rows;
  HEADLIGHT_CHECK(std::ssize(x_jd) == n * width);
  std::vector<double> ratio_i(n);
  for (std::int64_t i = 0; i < n; ++i) {
    Eigen::VectorXd others = Eigen::VectorXd::Zero(width);
    Eigen::VectorXd own = Eigen::Map<const Eigen::VectorXd>(x_jd.data() + i * width, width);
    for (std::int64_t h = 0; h < num_heads; ++h)
      for (std::int64_t j = 0; j < n; ++j)
        (i == j ? own : others) += static_cast<double>(attn_hij[(h * n + i) * n + j]) *
                                   Eigen::Map<const Eigen::VectorXd>(u_hjd.data() + (h * n + j) * width, width);
    const double sum = others.norm() + own.norm();
    ratio_i[i] = sum > 0.0 ? others.norm() / sum : 0.0;
  }
  return ratio_i;
}

std::vector<double> encoder_norms(std::span<const float> attn_hij, std::span<const double> u_hjd,
                                  std::span<const double> x_jd, std::int64_t num_heads, std::int64_t num_rows,
                                  std::int64_t width, const EncoderNorms& norms) {
  HEADLIGHT_CHECK(std::ssize(norms.deviation1_i) == num_rows);
  std::vector<double> u(u_hjd.begin(), u_hjd.end()), x(x_jd.begin(), x_jd.end());
  for (auto* z : {&u, &x}) {
    centre_and_scale(*z, width, norms.gain1_d);
    if (!norms.deviation2_i.empty()) centre_and_scale(*z, width, norms.gain2_d);
  }
  auto norm_ij = layer_norms(attn_hij, u, x, num_heads, num_rows, width);
  for (std::int64_t i = 0; i < num_rows; ++i) {
    const double deviation = norms.deviation1_i[i] * (norms.deviation2_i.empty() ? 1.0 : norms.deviation2_i[i]);
    for (std::int64_t j = 0; j < num_rows; ++j) norm_ij[i * num_rows + j] /= deviation;
  }
  return norm_ij;
}

std::vector<double> aggregate_norms(std::span<const std::vector<double>> layers, std::int64_t num_rows, bool rownorm) {
  Matrix product = Matrix::Identity(num_rows, num_rows);
  for (const auto& layer : layers) {
    HEADLIGHT_CHECK(std::ssize(layer) == num_rows * num_rows);
    Matrix norm = Eigen::Map<const Matrix>(layer.data(), num_rows, num_rows);
    if (rownorm)
      for (std::int64_t i = 0; i < num_rows; ++i) norm.row(i) /= std::max(norm.row(i).sum(), 1e-300);
    else
      norm /= std::max(norm.maxCoeff(), 1e-300);
    product = (norm * product).eval();
  }
  return {product.data(), product.data() + product.size()};
}

}  // namespace headlight::analysis
