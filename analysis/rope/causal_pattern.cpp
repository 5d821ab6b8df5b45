#include "analysis/rope/causal_pattern.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {

CausalPattern causal_pattern(std::span<const double> scores_ij, std::int64_t num_tokens, bool skip_first) {
  const auto n = static_cast<std::size_t>(num_tokens), from = static_cast<std::size_t>(skip_first ? 1 : 0);
  HEADLIGHT_CHECK(scores_ij.size() == n * n);
  CausalPattern out;
  out.residual_ij.assign(n * n, kUndefined);
  double count = 0.0, mean = 0.0, mean_distance = 0.0;
  for (std::size_t distance = 0; distance + from < n; ++distance) {
    double diagonal = 0.0;
    const auto length = static_cast<double>(n - distance - from);
    for (std::size_t i = distance + from; i < n; ++i) diagonal += scores_ij[i * n + i - distance];
    for (std::size_t i = distance + from; i < n; ++i)
      out.residual_ij[i * n + i - distance] = scores_ij[i * n + i - distance] - diagonal / length;
    count += length;
    mean += diagonal;
    mean_distance += length * static_cast<double>(distance);
  }
  mean /= count;
  mean_distance /= count;
  double variance = 0.0, left = 0.0, covariance = 0.0, spread = 0.0;
  for (std::size_t i = from; i < n; ++i)
    for (std::size_t j = from; j <= i; ++j) {
      const double s = scores_ij[i * n + j] - mean, d = static_cast<double>(i - j) - mean_distance;
      variance += s * s;
      left += out.residual_ij[i * n + j] * out.residual_ij[i * n + j];
      covariance += s * d;
      spread += d * d;
    }
  out.eta = variance > 0 ? left / variance : kUndefined;
  out.slope = spread > 0 ? covariance / spread : kUndefined;
  return out;
}

void parameter_free_layer(std::vector<double>& x_td, int num_dims) {
  const auto width = static_cast<std::size_t>(num_dims);
  const std::size_t tokens = x_td.size() / width;
  for (std::size_t t = 0; t < tokens; ++t) {
    double square = 0.0;
    for (std::size_t d = 0; d < width; ++d) square += x_td[t * width + d] * x_td[t * width + d];
    for (std::size_t d = 0; d < width && square > 0; ++d) x_td[t * width + d] /= std::sqrt(square);
  }
  const std::vector<double> x = x_td;
  std::vector<double> weight(tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    double sum = 0.0;
    for (std::size_t j = 0; j <= i; ++j) {
      double score = 0.0;
      for (std::size_t d = 0; d < width; ++d) score += x[i * width + d] * x[j * width + d];
      weight[j] = std::exp(score);
      sum += weight[j];
    }
    for (std::size_t j = 0; j <= i; ++j)
      for (std::size_t d = 0; d < width; ++d) x_td[i * width + d] += weight[j] / sum * x[j * width + d];
  }
}

}  // namespace headlight::analysis
