#include "analysis/entropy/image_entropy.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "analysis/record_shape.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr double kVarianceFloor = 1e-6;

double density(double x, double mean, double deviation) {
  const double z = (x - mean) / deviation;
  return std::exp(-0.5 * z * z) / (deviation * std::sqrt(2.0 * std::numbers::pi));
}

/// Two means from the extremes; ties go to the lower one.
TwoNormals two_means(std::span<const double> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  TwoNormals fit;
  fit.mean[0] = *low;
  fit.mean[1] = *high;
  for (int round = 0; round < 50; ++round) {
    double sum[2] = {0, 0}, count[2] = {0, 0};
    for (const double x : values) {
      const int k = std::abs(x - fit.mean[0]) <= std::abs(x - fit.mean[1]) ? 0 : 1;
      sum[k] += x;
      count[k] += 1.0;
    }
    for (int k = 0; k < 2; ++k) {
      if (count[k] > 0) fit.mean[k] = sum[k] / count[k];
      fit.weight[k] = count[k] / static_cast<double>(values.size());
    }
  }
  double squares[2] = {0, 0}, count[2] = {0, 0};
  for (const double x : values) {
    const int k = std::abs(x - fit.mean[0]) <= std::abs(x - fit.mean[1]) ? 0 : 1;
    squares[k] += (x - fit.mean[k]) * (x - fit.mean[k]);
    count[k] += 1.0;
  }
  for (int k = 0; k < 2; ++k)
    fit.deviation[k] = std::sqrt(std::max(kVarianceFloor, count[k] > 0 ? squares[k] / count[k] : 0.0));
  return fit;
}

}  // namespace

double image_entropy(std::span<const float> attn_hj, std::size_t num_image_tokens) {
  std::vector<double> mean(num_image_tokens, 0.0);
  double sum = 0.0;
  for (std::size_t at = 0; at < attn_hj.size(); ++at) {
    mean[at % num_image_tokens] += static_cast<double>(attn_hj[at]);
    sum += static_cast<double>(attn_hj[at]);
  }
  if (!(sum > 0.0)) return kUndefined;
  double entropy = 0.0;
  for (const double value : mean) entropy -= value / sum * std::log(value / sum + 1e-8);
  return entropy;
}

double TwoNormals::responsibility(double x) const {
  const double first = weight[0] * density(x, mean[0], deviation[0]),
               second = weight[1] * density(x, mean[1], deviation[1]);
  if (first + second > 0.0) return first / (first + second);
  return std::abs(x - mean[0]) <= std::abs(x - mean[1]) ? 1.0 : 0.0;  // far from both
}

bool TwoNormals::separated() const {
  return std::abs(mean[0] - mean[1]) > 2.0 * (deviation[0] + deviation[1]);
}

double TwoNormals::kl() const {
  const double difference = mean[0] - mean[1];
  return std::log(deviation[1] / deviation[0]) +
         (deviation[0] * deviation[0] + difference * difference) / (2.0 * deviation[1] * deviation[1]) - 0.5;
}

TwoNormals fit_two_normals(std::span<const double> values) {
  if (values.size() < 2) throw Error(Errc::invalid_argument, "two groups need at least two values");
  TwoNormals fit = two_means(values);
  double before = -kInfinity;
  for (int round = 0; round < 100; ++round) {
    double weight[2] = {0, 0}, sum[2] = {0, 0}, squares[2] = {0, 0}, likelihood = 0.0;
    for (const double x : values) {
      likelihood += std::log(std::max(1e-300, fit.weight[0] * density(x, fit.mean[0], fit.deviation[0]) +
                                                  fit.weight[1] * density(x, fit.mean[1], fit.deviation[1])));
      const double share[2] = {fit.responsibility(x), 1.0 - fit.responsibility(x)};
      for (int k = 0; k < 2; ++k) {
        weight[k] += share[k];
        sum[k] += share[k] * x;
      }
    }
    for (int k = 0; k < 2; ++k)
      if (weight[k] > 1e-12) fit.mean[k] = sum[k] / weight[k];
    const TwoNormals old = fit;
    for (const double x : values) {
      const double first = TwoNormals(old).responsibility(x);
      squares[0] += first * (x - fit.mean[0]) * (x - fit.mean[0]);
      squares[1] += (1.0 - first) * (x - fit.mean[1]) * (x - fit.mean[1]);
    }
    for (int k = 0; k < 2; ++k) {
      fit.deviation[k] = std::sqrt(std::max(kVarianceFloor, weight[k] > 1e-12 ? squares[k] / weight[k] : 0.0));
      fit.weight[k] = weight[k] / static_cast<double>(values.size());
    }
    likelihood /= static_cast<double>(values.size());
    if (likelihood - before < 1e-3 && round > 0) break;
    before = likelihood;
  }
  if (fit.mean[0] > fit.mean[1]) {
    std::swap(fit.mean[0], fit.mean[1]);
    std::swap(fit.deviation[0], fit.deviation[1]);
    std::swap(fit.weight[0], fit.weight[1]);
  }
  return fit;
}

ImageVerdict image_verdict(std::span<const double> entropy_sl, std::size_t num_layers) {
  ImageVerdict verdict;
  const std::size_t samples = num_layers > 0 ? entropy_sl.size() / num_layers : 0;
  std::vector<double> sum(samples, 0.0);
  double sensitive = 0.0;
  for (std::size_t l = 0; l < num_layers; ++l) {
    std::vector<double> layer;
    for (std::size_t s = 0; s < samples; ++s) layer.push_back(entropy_sl[s * num_layers + l]);
    const double mean = mean_defined(layer);
    for (double& value : layer) value = std::isnan(value) ? mean : value;
    verdict.layers.push_back(fit_two_normals(layer));
    verdict.sensitive.push_back(verdict.layers.back().separated() ? 1 : 0);
    if (verdict.sensitive.back() == 0) continue;
    sensitive += 1.0;
    for (std::size_t s = 0; s < samples; ++s) sum[s] += layer[s];
  }
  if (sensitive == 0.0) return verdict;
  for (double& value : sum) value /= sensitive;
  const TwoNormals groups = fit_two_normals(sum);
  for (const double value : sum) verdict.suspicious.push_back(groups.responsibility(value) > 0.5 ? 1 : 0);
  verdict.score = std::move(sum);
  return verdict;
}

}  // namespace headlight::analysis
