#include "analysis/detection/attention_tracker.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace headlight::analysis {
namespace {

struct Moments {
  double mean = 0.0, deviation = 0.0;
};

// Of every stride-th value from `first` on; population deviation.
Moments moments(std::span<const double> values, std::size_t first, std::size_t stride) {
  double n = 0.0, sum = 0.0, square = 0.0;
  for (std::size_t at = first; at < values.size(); at += stride, ++n) sum += values[at];
  for (std::size_t at = first; at < values.size(); at += stride) square += std::pow(values[at] - sum / n, 2);
  return {sum / n, std::sqrt(square / n)};
}

}  // namespace

double focus(double instruction_mass, double data_mass) {
  return instruction_mass / (instruction_mass + data_mass + 1e-8);
}

std::vector<std::int64_t> important_heads(std::span<const double> normal_sc, std::span<const double> attack_sc,
                                          std::int64_t cells, double k) {
  HEADLIGHT_CHECK(cells > 0 && std::ssize(normal_sc) % cells == 0 && std::ssize(attack_sc) % cells == 0);
  if (normal_sc.empty() || attack_sc.empty())
    throw Error(Errc::invalid_argument,
                "important heads are chosen from normal and attacked prompts: one kind is missing");
  std::vector<std::int64_t> heads;
  for (std::int64_t c = 0; c < cells; ++c) {
    const auto normal = moments(normal_sc, c, cells), attack = moments(attack_sc, c, cells);
    if ((normal.mean - attack.mean) - k * (normal.deviation + attack.deviation) > 0.0) heads.push_back(c);
  }
  return heads;
}

double focus_score(std::span<const double> focus_c, std::span<const std::int64_t> heads) {
  double sum = 0.0;
  for (const std::int64_t c : heads) sum += focus_c[c];
  return heads.empty() ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(heads.size());
}

double focus_threshold(std::span<const double> normal, std::span<const double> attack) {
  if (normal.empty()) return 0.5;
  const auto good = moments(normal, 0, 1);
  return attack.empty() ? good.mean - 4.0 * good.deviation : 0.5 * (good.mean + moments(attack, 0, 1).mean);
}

}  // namespace headlight::analysis
