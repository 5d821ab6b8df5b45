#include "analysis/entropy/head_health.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"

namespace headlight::analysis {

std::array<double, 4> entropy_bands(std::span<const double> entropy_lh, double maximum) {
  std::array<double, 4> share{};
  double count = 0.0;
  for (const double entropy : entropy_lh) {
    if (std::isnan(entropy)) continue;
    const double position = maximum > 0 ? entropy / maximum : 0.0;
    share[static_cast<std::size_t>(std::clamp(static_cast<int>(position * 4.0), 0, 3))] += 1.0;
    count += 1.0;
  }
  for (double& band : share) band = count > 0 ? band / count : kUndefined;
  return share;
}

std::string_view to_string(Health health) {
  switch (health) {
    case Health::healthy:
      return "healthy";
    case Health::overloaded:
      return "overloaded";
    case Health::collapsed:
      return "collapsed";
    case Health::sink:
      return "sink";
    case Health::undefined:
      return "undefined";
  }
  return "undefined";
}

Health head_health(double normalized_entropy, double sink_mass, const HealthOptions& options) {
  if (std::isnan(normalized_entropy)) return Health::undefined;
  if (normalized_entropy >= options.overloaded) return Health::overloaded;
  if (normalized_entropy > options.collapsed) return Health::healthy;
  return sink_mass < options.sink ? Health::collapsed : Health::sink;
}

HealthAlarm health_alarm(std::span<const Health> health_lh, int num_layers, int num_heads) {
  const int third = std::max(1, num_layers / 3);
  const auto share = [&](int first_layer, Health kind) {
    const auto from = health_lh.begin() + first_layer * num_heads;
    return static_cast<double>(std::count(from, from + third * num_heads, kind)) / (third * num_heads);
  };
  HealthAlarm alarm{share(0, Health::overloaded), share(num_layers - third, Health::collapsed), false};
  alarm.raised = alarm.overloaded_early >= 0.25 || alarm.collapsed_late >= 0.10;
  return alarm;
}

double entropy_penalty(std::span<const double> entropy_i, double max_entropy, double theta, double gamma) {
  double sum = 0.0;
  std::int64_t count = 0;
  for (const double entropy : entropy_i) {
    if (std::isnan(entropy)) continue;
    const double deviation = entropy - theta * max_entropy;
    if (std::abs(deviation) > gamma * max_entropy) sum += deviation * deviation;
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : kUndefined;
}

}  // namespace headlight::analysis
