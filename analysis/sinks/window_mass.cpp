#include "analysis/sinks/window_mass.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {

WindowMass window_mass(std::span<const float> sink_hi, std::span<const float> local_hi, std::span<const float> null_hi,
                       const capture::LayerGeometry& geometry, std::int64_t sink_size, std::int64_t local_window) {
  const std::int64_t width = geometry.num_rows, sink_end = geometry.mask.first_key + sink_size;
  const std::size_t heads = width > 0 ? sink_hi.size() / static_cast<std::size_t>(width) : 0;
  WindowMass mass{std::vector<double>(heads, kUndefined), std::vector<double>(heads, kUndefined),
                  std::vector<double>(heads, kUndefined)};
  for (std::size_t h = 0; h < heads; ++h) {
    double sink = 0.0, recent = 0.0, middle = 0.0;
    std::int64_t count = 0;
    for (std::int64_t i = sink_end; i < width; ++i) {
      const std::size_t at = h * static_cast<std::size_t>(width) + static_cast<std::size_t>(i);
      if (std::isnan(sink_hi[at]) || std::isnan(local_hi[at])) continue;
      const double all = 1.0 - (std::isnan(null_hi[at]) ? 0.0 : static_cast<double>(null_hi[at]));
      const bool meet = geometry.mask.visible(i, width).begin < sink_end && i - local_window + 1 < sink_end;
      const double own_sink = sink_hi[at], own_recent = meet ? all - own_sink : static_cast<double>(local_hi[at]);
      sink += own_sink;
      recent += own_recent;
      middle += meet ? 0.0 : all - own_sink - own_recent;
      ++count;
    }
    if (count == 0) continue;
    mass.sink_h[h] = sink / static_cast<double>(count);
    mass.recent_h[h] = recent / static_cast<double>(count);
    mass.middle_h[h] = middle / static_cast<double>(count);
  }
  return mass;
}

}  // namespace headlight::analysis
