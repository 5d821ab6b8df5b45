#include "analysis/sinks/moving_sinks.h"

#include <algorithm>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {

std::vector<double> sink_margin(std::span<const double> colsum_j) {
  const auto count = static_cast<double>(colsum_j.size());
  std::vector<double> margin(colsum_j.size(), 0.0);
  if (colsum_j.size() < 2) return margin;
  for (std::size_t j = 0; j < margin.size(); ++j) margin[j] = colsum_j[j] / (count - 1.0) - 1.0 / (count - 1.0);
  return margin;
}

std::vector<std::uint8_t> bidirectional_sinks(std::span<const double> colsum_j, double epsilon, SinkScale scale) {
  const std::vector<double> margin = sink_margin(colsum_j);
  const double threshold =
      scale == SinkScale::percent ? epsilon / 100.0 : epsilon / static_cast<double>(colsum_j.size());
  std::vector<std::uint8_t> sink(margin.size());
  for (std::size_t j = 0; j < sink.size(); ++j) sink[j] = margin[j] > threshold ? 1 : 0;
  return sink;
}

SinkMotion sink_motion(std::span<const double> colsum_tj, std::int64_t num_tokens) {
  SinkMotion motion;
  const auto width = static_cast<std::size_t>(num_tokens);
  for (std::size_t begin = 0; begin + width <= colsum_tj.size() && width > 0; begin += width) {
    const auto from = colsum_tj.begin() + static_cast<std::ptrdiff_t>(begin);
    motion.path.push_back(std::max_element(from, from + num_tokens) - from);
  }
  if (motion.path.size() < 2) {
    motion.stability = motion.drift = kUndefined;
    motion.lifetime = static_cast<double>(motion.path.size());
    return motion;
  }
  const auto moves = static_cast<double>(motion.path.size() - 1);
  int stays = 0;
  for (std::size_t t = 1; t < motion.path.size(); ++t) stays += motion.path[t] == motion.path[t - 1] ? 1 : 0;
  motion.stability = stays / moves;
  motion.drift = static_cast<double>(motion.path.back() - motion.path.front()) / moves;
  motion.lifetime = static_cast<double>(motion.path.size()) / (moves - stays + 1.0);
  return motion;
}

double masked_share(std::span<const std::uint8_t> sink_tj, std::span<const std::uint8_t> masked_tj) {
  HEADLIGHT_CHECK(sink_tj.size() == masked_tj.size());
  std::int64_t sinks = 0, masked = 0;
  for (std::size_t at = 0; at < sink_tj.size(); ++at) {
    if (sink_tj[at] == 0) continue;
    ++sinks;
    masked += masked_tj[at] != 0 ? 1 : 0;
  }
  return sinks > 0 ? static_cast<double>(masked) / static_cast<double>(sinks) : kUndefined;
}

}  // namespace headlight::analysis
