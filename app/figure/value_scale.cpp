#include "app/figure/value_scale.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace headlight::figure {
namespace {

constexpr double kQuantile = 0.999;
constexpr double kWorthClipping = 0.5;  // a quantile above half the largest value: show everything instead
constexpr double kLogDecades = 5.0;     // span of a log scale whose low end is free

std::vector<float> finite_values(std::span<const float> values) {
  std::vector<float> finite;
  finite.reserve(values.size());
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite), [](float v) { return std::isfinite(v); });
  return finite;
}

// Start of a log scale: what nearly all positive values lie above.
double lowest_positive(std::vector<float> values, RangeMode mode) {
  std::erase_if(values, [](float value) { return !(value > 0.0f); });
  if (values.empty()) return 0.0;
  const double share = mode == RangeMode::robust ? 1.0 - kQuantile : 0.0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return static_cast<double>(*at);
}

// 1, 2 or 5 times a power of ten, at least `value`.
double nice_step(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (value <= factor * power * (1.0 + 1e-9)) return factor * power;
  return 10.0 * power;
}

int decimals_for(double step) {
  return std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
}

std::vector<Tick> linear_ticks(double low, double high, int wanted) {
  std::vector<Tick> ticks;
  double step = nice_step((high - low) / std::max(1, wanted));
  if (std::floor(high / step + 1e-6) - std::ceil(low / step - 1e-6) < 1.0) step = nice_step(step / 2.5);
  const double largest = std::max(std::abs(low), std::abs(high));
  const int decimals = decimals_for(step);
  for (auto n = std::ceil(low / step - 1e-6); n * step <= high + 1e-6 * step; n += 1.0) {
    const double value = n == 0.0 ? 0.0 : n * step;
    const bool plain = largest < 1e5 && decimals <= 4;
    ticks.push_back({value, value == 0.0 ? "0"
                            : plain      ? fmt::format("{:.{}f}", value, decimals)
                                         : fmt::format("{:.3g}", value)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double low, double high, int wanted) {
  std::vector<Tick> ticks;
  const int first = static_cast<int>(std::floor(std::log10(low))), last = static_cast<int>(std::ceil(std::log10(high)));
  const int stride = std::max(1, (last - first) / std::max(1, wanted));
  const bool few = std::log10(high / low) < 2.5;
  for (int exponent = first; exponent <= last; exponent += stride)
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor != 1.0 && !few) continue;
      const double value = factor * std::pow(10.0, exponent);
      if (value >= low * (1.0 - 1e-6) && value <= high * (1.0 + 1e-6)) ticks.push_back({value, format_value(value, 1)});
    }
  return ticks;
}

}  // namespace

double ValueScale::position(double value) const {
  switch (kind) {
    case ScaleKind::linear:
      return (value - low) / (high - low);
    case ScaleKind::log:
      if (value <= 0.0) return -1.0;
      return std::log(value / low) / std::log(high / low);
    case ScaleKind::power: {
      const double t = (value - low) / (high - low);
      return t <= 0.0 ? t : std::pow(t, gamma);
    }
  }
  return 0.0;
}

std::vector<Tick> ticks_of(const ValueScale& scale, int wanted) {
  if (scale.kind == ScaleKind::log) {
    std::vector<Tick> ticks = log_ticks(scale.low, scale.high, wanted);
    if (ticks.size() >= 2) return ticks;
    return linear_ticks(scale.low, scale.high, wanted);
  }
  return linear_ticks(scale.low, scale.high, wanted);
}

std::string format_value(double value, int digits) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double magnitude = std::abs(value);
  if (magnitude != 0.0 && (magnitude < 1e-3 || magnitude >= 1e6)) {
    std::string text = fmt::format("{:.{}e}", value, std::max(0, digits - 1));
    return text;
  }
  return fmt::format("{:.{}g}", value,
                     std::max(digits, magnitude >= 1.0 ? 1 + static_cast<int>(std::log10(magnitude)) : 1));
}

ValueScale choose_scale(std::span<const float> core, std::span<const float> all, const RangeOptions& options) {
  ValueScale scale{.kind = options.kind, .low = 0.0, .high = 1.0, .gamma = options.gamma};
  std::vector<float> values = finite_values(options.mode == RangeMode::robust ? core : all);
  if (values.empty()) values = finite_values(all);
  if (!values.empty()) {
    const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
    scale.low = options.from_zero ? std::min(0.0, static_cast<double>(*smallest)) : static_cast<double>(*smallest);
    scale.high = static_cast<double>(*largest);
    if (options.mode == RangeMode::robust) {
      const auto at =
          values.begin() + static_cast<std::ptrdiff_t>(std::ceil(kQuantile * static_cast<double>(values.size() - 1)));
      std::nth_element(values.begin(), at, values.end());
      scale.high = static_cast<double>(*at);
      const std::vector<float> every = finite_values(all);
      const auto peak = static_cast<double>(*std::max_element(every.begin(), every.end()));
      if (scale.high >= kWorthClipping * peak) scale.high = peak;
    } else if (options.kind != ScaleKind::log && scale.high > scale.low) {
      const double step = nice_step((scale.high - scale.low) / 10.0);
      scale.high = std::ceil(scale.high / step - 1e-6) * step;
    }
  }
  if (options.high) scale.high = *options.high;
  if (scale.kind == ScaleKind::log) {
    if (!(scale.high > 0.0)) scale.high = 1.0;
    scale.low = std::max(lowest_positive(values, options.mode), scale.high * std::pow(10.0, -kLogDecades));
  }
  if (options.low && (scale.kind != ScaleKind::log || *options.low > 0.0)) scale.low = *options.low;
  if (!(scale.low < scale.high)) scale.high = scale.low + (scale.low == 0.0 ? 1.0 : std::abs(scale.low));
  return scale;
}

}  // namespace headlight::figure
