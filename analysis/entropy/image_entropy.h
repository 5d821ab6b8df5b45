#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Entropy of a layer's attention from one row to an image: the mean over heads first, renormalised over the image,
/// then
///
///     E = -sum_j a_j ln(a_j + 1e-8)                          nats; NaN without mass on the image
///
/// Source: Backdoor Cleaning without External Guidance in MLLM Fine-tuning.
/// @param attn_hj  weights of the row on the image tokens, [heads][image tokens]
double image_entropy(std::span<const float> attn_hj, std::size_t num_image_tokens);

/// Two normal distributions on a line, fitted by expectation-maximisation: start from 2-means, at most 100 iterations,
/// tolerance 1e-3 in the mean log-likelihood, variance at least 1e-6. Components are ordered by their mean.
struct TwoNormals {
  double mean[2] = {0, 0}, deviation[2] = {0, 0}, weight[2] = {0, 0};

  double responsibility(double x) const;  ///< of the component with the smaller mean
  bool separated() const;                 ///< |mean1 - mean2| > 2 (deviation1 + deviation2)
  double kl() const;                      ///< KL(first || second)
};
/// @error invalid_argument  fewer than two values
TwoNormals fit_two_normals(std::span<const double> values);

/// Which samples look poisoned: a layer is sensitive when its entropies are separated into two groups; the score of a
/// sample is its mean entropy over sensitive layers; the group with the smaller mean score is suspicious. NaN is
/// replaced by the layer's mean.
struct ImageVerdict {
  std::vector<TwoNormals> layers;        ///< fits, [L]
  std::vector<std::uint8_t> sensitive;   ///< [L]
  std::vector<double> score;             ///< [samples]; empty = no verdict, no layer is sensitive
  std::vector<std::uint8_t> suspicious;  ///< [samples]
};
/// @param entropy_sl  [samples][layers]
ImageVerdict image_verdict(std::span<const double> entropy_sl, std::size_t num_layers);

}  // namespace headlight::analysis
