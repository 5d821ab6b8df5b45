#include "analysis/sinks/hidden_sinks.h"

#include <algorithm>

namespace headlight::analysis {

std::vector<std::uint8_t> hidden_sinks(std::span<const double> alpha_hj, const capture::LayerGeometry& geometry,
                                       const HiddenSinkOptions& options) {
  constexpr double kRounding = 1e-6;
  const auto width = static_cast<std::size_t>(geometry.num_rows);
  const auto first = static_cast<std::size_t>(geometry.mask.first_key);
  const double valid = static_cast<double>(std::max<std::int64_t>(1, geometry.num_rows - geometry.mask.first_key));
  const double threshold = (options.relative ? options.share / valid : options.threshold) + kRounding;
  std::vector<std::uint8_t> sink_hj(alpha_hj.size(), 0);
  for (std::size_t begin = 0; begin < alpha_hj.size(); begin += width) {
    bool to_drop = options.drop_first_found;
    for (std::size_t j = first; j < width; ++j) {
      const bool enough = geometry.visible_rows(static_cast<std::int64_t>(j)) >= options.min_rows;
      if (!enough || !(alpha_hj[begin + j] > threshold)) continue;
      const bool drop = options.drop_first_found ? to_drop : j == first;
      to_drop = false;
      sink_hj[begin + j] = drop ? 0 : 1;
    }
  }
  return sink_hj;
}

std::vector<double> hidden_sink_mass(std::span<const std::uint8_t> sink_hj, std::span<const float> received_hj,
                                     const capture::LayerGeometry& geometry) {
  const auto width = static_cast<std::size_t>(geometry.num_rows);
  const std::int64_t rows = geometry.num_rows - geometry.mask.first_key;
  std::vector<double> mass_h(width > 0 ? received_hj.size() / width : 0, 0.0);
  for (std::size_t at = 0; at < received_hj.size() && rows > 0; ++at)
    if (sink_hj[at] != 0) mass_h[at / width] += static_cast<double>(received_hj[at]) / static_cast<double>(rows);
  return mass_h;
}

}  // namespace headlight::analysis
