#include "analysis/sinks/massive_activations.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {

double LevelMagnitudes::ratio() const {
  return top.empty() ? kUndefined : std::abs(top.front().value) / median;
}

LevelMagnitudes level_magnitudes(std::span<const float> x_td, int num_dims, const MassiveOptions& options) {
  LevelMagnitudes level;
  level.median = kUndefined;
  if (x_td.empty()) return level;
  std::vector<float> magnitude(x_td.size());
  std::transform(x_td.begin(), x_td.end(), magnitude.begin(), [](float x) { return std::abs(x); });
  const auto middle = magnitude.begin() + static_cast<std::ptrdiff_t>((magnitude.size() - 1) / 2);
  std::nth_element(magnitude.begin(), middle, magnitude.end());
  level.median = *middle;
  const auto width = static_cast<std::size_t>(num_dims);
  for (std::size_t at = 0; at < x_td.size(); ++at) {
    const Magnitude entry{static_cast<std::int64_t>(at / width), static_cast<int>(at % width), x_td[at]};
    const double size = std::abs(entry.value);
    if (size > options.min_value && size > options.min_ratio * level.median) level.massive.push_back(entry);
    if (level.top.size() == 3 && size <= std::abs(level.top.back().value)) continue;
    const auto place = std::find_if(level.top.begin(), level.top.end(),
                                    [&](const Magnitude& other) { return size > std::abs(other.value); });
    level.top.insert(place, entry);
    if (level.top.size() > 3) level.top.pop_back();
  }
  return level;
}

}  // namespace headlight::analysis
