#include "analysis/sinks/over_mixing.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace headlight::analysis {

MixingSpread::MixingSpread(std::int64_t num_tokens, std::int64_t first) : first_(first) {
  const auto n = static_cast<std::size_t>(num_tokens);
  for (Chain* chain : {&all_, &rest_}) {
    chain->sums.assign(n, 0.0);
    std::fill(chain->sums.begin() + first, chain->sums.end(), 1.0);
    chain->diagonal = chain->sums;
    chain->next.assign(n, 0.0);
    chain->next_diagonal.assign(n, 0.0);
  }
  rest_.sums[static_cast<std::size_t>(first)] = rest_.diagonal[static_cast<std::size_t>(first)] = 0.0;
}

void MixingSpread::add_row(std::int64_t row, kernels::KeyRange keys, std::span<const float> attn_j) {
  const auto i = static_cast<std::size_t>(row);
  const bool sees_first = keys.begin <= first_ && keys.end > first_;
  const double rest =
      1.0 - (sees_first ? static_cast<double>(attn_j[static_cast<std::size_t>(first_ - keys.begin)]) : 0.0);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double attn = attn_j[static_cast<std::size_t>(j - keys.begin)];
    const auto at = static_cast<std::size_t>(j);
    all_.next[at] += all_.sums[i] * attn;
    if (j == row) all_.next_diagonal[at] += attn;
    if (j == first_ || rest <= 1e-9) continue;
    rest_.next[at] += rest_.sums[i] * attn / rest;
    if (j == row) rest_.next_diagonal[at] += attn / rest;
  }
}

void MixingSpread::finish(Chain& chain, int num_heads) {
  for (std::size_t j = 0; j < chain.sums.size(); ++j) {
    chain.sums[j] = 0.5 * (chain.next[j] / num_heads + chain.sums[j]);
    chain.diagonal[j] *= 0.5 * (chain.next_diagonal[j] / num_heads + 1.0);
    chain.next[j] = chain.next_diagonal[j] = 0.0;
  }
}

void MixingSpread::end_layer(int num_heads) {
  HEADLIGHT_CHECK(num_heads > 0);
  finish(all_, num_heads);
  finish(rest_, num_heads);
}

std::vector<double> MixingSpread::Chain::spread() const {
  std::vector<double> out(sums.size());
  for (std::size_t j = 0; j < out.size(); ++j) out[j] = std::max(0.0, sums[j] - diagonal[j]);
  return out;
}

std::vector<double> MixingSpread::with_sink() const {
  return all_.spread();
}
std::vector<double> MixingSpread::without_sink() const {
  return rest_.spread();
}

RankCollapse rank_collapse(std::span<const float> x_td, int num_dims) {
  const auto width = static_cast<std::size_t>(num_dims);
  const std::size_t tokens = x_td.size() / width;
  std::vector<double> mean(width, 0.0);
  double squares = 0.0;
  for (std::size_t at = 0; at < x_td.size(); ++at) {
    const double x = x_td[at];
    mean[at % width] += x / static_cast<double>(tokens);
    squares += x * x;
  }
  double distance = 0.0;
  for (std::size_t at = 0; at < x_td.size(); ++at) {
    const double difference = static_cast<double>(x_td[at]) - mean[at % width];
    distance += difference * difference;
  }
  return {std::sqrt(distance), squares > 0 ? std::sqrt(distance / squares) : 0.0};
}

std::vector<double> state_distance(std::span<const float> x_td, std::span<const float> y_td, int num_dims) {
  HEADLIGHT_CHECK(x_td.size() == y_td.size());
  const auto width = static_cast<std::size_t>(num_dims);
  std::vector<double> distance_t(x_td.size() / width, 0.0);
  for (std::size_t at = 0; at < x_td.size(); ++at) {
    const double difference = static_cast<double>(y_td[at]) - static_cast<double>(x_td[at]);
    distance_t[at / width] += difference * difference;
  }
  for (double& distance : distance_t) distance = std::sqrt(distance);
  return distance_t;
}

}  // namespace headlight::analysis
