#include "analysis/roles/reading_range.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/undefined.h"

namespace headlight::analysis {
namespace {

constexpr double kLeastMass = 1e-6;

}  // namespace

double mean_span(const AttentionMap& map, bool drop_first) {
  double sum = 0, rows = 0;
  for (std::int64_t t = 0; t < map.n; ++t) {
    double mass = 0, span = 0;
    for (std::int64_t s = drop_first ? 1 : 0; s <= t; ++s) {
      const double a = map.row(t)[static_cast<std::size_t>(s)];
      mass += a;
      span += a * static_cast<double>(t - s);
    }
    if (mass < kLeastMass) continue;
    sum += span / (drop_first ? mass : 1.0);
    rows += 1;
  }
  return rows > 0 ? sum / rows : kUndefined;
}

std::vector<ReadingRange> split_by_span(std::span<const double> span_h, double share) {
  std::vector<std::size_t> order;
  for (std::size_t h = 0; h < span_h.size(); ++h)
    if (!std::isnan(span_h[h])) order.push_back(h);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return span_h[a] < span_h[b]; });
  const auto count = static_cast<std::size_t>(share * static_cast<double>(order.size()));
  std::vector<ReadingRange> ranges(span_h.size(), ReadingRange::middle);
  for (std::size_t k = 0; k < count; ++k) {
    ranges[order[k]] = ReadingRange::local;
    ranges[order[order.size() - 1 - k]] = ReadingRange::global;
  }
  return ranges;
}

std::vector<double> windowed_distance(const AttentionMap& map, std::int64_t width) {
  std::vector<double> distance_t;
  for (std::int64_t t = 0; t < map.n; ++t) {
    double sum = 0;
    for (std::int64_t s = 0; s <= t; ++s)
      sum += map.row(t)[static_cast<std::size_t>(s)] * static_cast<double>(std::min(t - s, width));
    distance_t.push_back(sum);
  }
  return distance_t;
}

std::vector<double> future_influence(const AttentionMap& map, std::int64_t near, std::int64_t far) {
  std::vector<double> influence_s;
  for (std::int64_t s = 0; s < map.n; ++s) {
    const std::int64_t last = std::min(s + far, map.n - 1);
    double sum = 0;
    for (std::int64_t t = s + near; t <= last; ++t) sum += map.row(t)[static_cast<std::size_t>(s)];
    influence_s.push_back(last >= s + near ? sum / static_cast<double>(last - s - near + 1) : kUndefined);
  }
  return influence_s;
}

std::vector<std::int64_t> largest_positions(std::span<const double> values, double share) {
  std::vector<std::int64_t> order;
  for (std::int64_t k = 0; k < std::ssize(values); ++k)
    if (!std::isnan(values[static_cast<std::size_t>(k)])) order.push_back(k);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(share * static_cast<double>(order.size())));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<double> steps_of(std::span<const double> values) {
  std::vector<double> steps;
  for (std::size_t t = 0; t + 1 < values.size(); ++t) steps.push_back(std::fabs(values[t] - values[t + 1]));
  return steps;
}

std::vector<std::int64_t> peaks(std::span<const double> values, double prominence) {
  std::vector<std::int64_t> found;
  for (std::size_t t = 1; t + 1 < values.size(); ++t) {
    if (!(values[t] > values[t - 1] && values[t] >= values[t + 1])) continue;
    double left = values[t], right = values[t];
    for (std::size_t k = t; k-- > 0 && values[k] <= values[t];) left = std::min(left, values[k]);
    for (std::size_t k = t + 1; k < values.size() && values[k] <= values[t]; ++k) right = std::min(right, values[k]);
    if (values[t] - std::max(left, right) >= prominence) found.push_back(static_cast<std::int64_t>(t));
  }
  return found;
}

Coupling coupling(std::span<const std::int64_t> plans, std::span<const std::int64_t> anchors, std::int64_t tokens,
                  std::int64_t reach) {
  if (plans.empty() || tokens < 1) return {kUndefined, kUndefined};
  double hits = 0;
  for (const std::int64_t t : plans) {
    const auto next = std::lower_bound(anchors.begin(), anchors.end(), t + 1);
    hits += next != anchors.end() && *next <= t + reach;
  }
  const double density = static_cast<double>(anchors.size()) / static_cast<double>(tokens);
  return {hits / static_cast<double>(plans.size()), 1.0 - std::pow(1.0 - density, static_cast<double>(reach))};
}

}  // namespace headlight::analysis
