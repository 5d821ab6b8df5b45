#include "analysis/sinks/register_neurons.h"

#include <algorithm>
#include <cmath>

namespace headlight::analysis {

double otsu_threshold(std::span<const double> values) {
  std::vector<double> logs;
  for (const double value : values)
    if (value > 0) logs.push_back(std::log(value));
  if (logs.empty()) return 0.0;
  const auto [low, high] = std::minmax_element(logs.begin(), logs.end());
  if (*low == *high) return std::exp(*high);
  constexpr int kBins = 256;
  std::vector<double> count(kBins, 0.0);
  const double width = (*high - *low) / kBins;
  for (const double value : logs)
    count[static_cast<std::size_t>(std::min(kBins - 1, static_cast<int>((value - *low) / width)))] += 1.0;
  double all = 0.0, all_sum = 0.0;
  for (int b = 0; b < kBins; ++b) {
    all += count[static_cast<std::size_t>(b)];
    all_sum += b * count[static_cast<std::size_t>(b)];
  }
  double below = 0.0, below_sum = 0.0, best = -1.0, first = 0.0, last = 0.0;
  for (int b = 0; b + 1 < kBins; ++b) {
    below += count[static_cast<std::size_t>(b)];
    below_sum += b * count[static_cast<std::size_t>(b)];
    if (below == 0.0 || below == all) continue;
    const double difference = below_sum / below - (all_sum - below_sum) / (all - below);
    const double between = below * (all - below) * difference * difference;
    if (between > best * (1.0 + 1e-12)) first = b;
    if (between >= best * (1.0 - 1e-12)) last = b;  // an empty valley has the same value all along
    best = std::max(best, between);
  }
  return std::exp(*low + width * (0.5 * (first + last) + 1.0));
}

std::vector<std::uint8_t> outlier_tokens(std::span<const double> norm_t, double threshold) {
  std::vector<std::uint8_t> outlier(norm_t.size());
  for (std::size_t t = 0; t < outlier.size(); ++t) outlier[t] = norm_t[t] > threshold ? 1 : 0;
  return outlier;
}

void RegisterScore::add_image(std::span<const float> act_tn, std::span<const std::uint8_t> outlier_t) {
  const std::size_t neurons = sum_.size();
  tokens_ += static_cast<std::int64_t>(outlier_t.size());
  for (std::size_t at = 0; at < act_tn.size(); ++at) sparse_[at % neurons] += act_tn[at] < 0.5f ? 1.0 : 0.0;
  const auto outliers = std::count(outlier_t.begin(), outlier_t.end(), std::uint8_t{1});
  if (outliers == 0) return;
  ++images_;
  for (std::size_t t = 0; t < outlier_t.size(); ++t)
    for (std::size_t n = 0; n < neurons && outlier_t[t] != 0; ++n)
      sum_[n] += std::abs(static_cast<double>(act_tn[t * neurons + n])) / static_cast<double>(outliers);
}

std::vector<double> RegisterScore::score() const {
  std::vector<double> mean = sum_;
  for (double& value : mean) value = images_ > 0 ? value / images_ : 0.0;
  return mean;
}

std::vector<double> RegisterScore::sparsity() const {
  std::vector<double> share = sparse_;
  for (double& value : share) value = tokens_ > 0 ? value / static_cast<double>(tokens_) : 0.0;
  return share;
}

std::vector<float> edit_registers(std::span<float> act_tn, std::size_t num_neurons, const RegisterEdit& edit) {
  const std::size_t tokens = act_tn.size() / num_neurons;
  std::vector<float> extreme(num_neurons, 0.0f);
  for (std::size_t at = 0; at < act_tn.size(); ++at) {
    float& kept = extreme[edit.per_neuron ? at % num_neurons : 0];
    if (std::abs(act_tn[at]) > std::abs(kept)) kept = act_tn[at];
  }
  if (!edit.per_neuron) std::fill(extreme.begin(), extreme.end(), extreme.front());
  for (std::size_t n = 0; n < num_neurons && edit.patches != RegisterEdit::Patches::same; ++n) {
    double mean = 0.0, squares = 0.0;
    for (std::size_t t = 0; t < tokens; ++t) {
      const double value = act_tn[t * num_neurons + n];
      mean += value / static_cast<double>(tokens);
      squares += value * value / static_cast<double>(tokens);
    }
    const double limit = mean + std::sqrt(std::max(0.0, squares - mean * mean));
    for (std::size_t t = 0; t < tokens; ++t) {
      float& value = act_tn[t * num_neurons + n];
      if (edit.patches == RegisterEdit::Patches::zero) value = 0.0f;
      const bool outlier = static_cast<double>(value) > limit;
      if (edit.patches == RegisterEdit::Patches::mean ||
          (edit.patches == RegisterEdit::Patches::only_outliers && outlier))
        value = static_cast<float>(mean);
    }
  }
  for (float& value : extreme) value *= static_cast<float>(edit.scale);
  return extreme;
}

}  // namespace headlight::analysis
