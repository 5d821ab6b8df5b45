#include "analysis/entropy/span.h"

#include <algorithm>
#include <cmath>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {

int distance_bin(std::int64_t distance) {
  int bin = 0;
  for (std::int64_t d = std::abs(distance); d > 0; d /= 2) ++bin;
  return std::min(bin, kDistanceBins - 1);
}

SpanStatistics::SpanStatistics(std::vector<std::int64_t> windows, std::int64_t sink_end)
    : windows_(std::move(windows)), sink_end_(sink_end), window_(windows_.size(), 0.0) {}

void SpanStatistics::add_row(std::int64_t row, kernels::KeyRange keys, std::span<const float> attn_j) {
  double distance = 0.0, rest = 0.0, rest_distance = 0.0;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double attn = attn_j[static_cast<std::size_t>(j - keys.begin)];
    const std::int64_t far = std::abs(row - j);
    distance += attn * static_cast<double>(far);
    octave_[static_cast<std::size_t>(distance_bin(far))] += attn;
    for (std::size_t w = 0; w < windows_.size(); ++w)
      if (far < windows_[w]) window_[w] += attn;
    if (j < sink_end_) continue;
    rest += attn;
    rest_distance += attn * static_cast<double>(far);
  }
  rows_ += 1.0;
  distance_ += distance;
  if (row > 0) {
    relative_ += distance / static_cast<double>(row);
    relative_rows_ += 1.0;
  }
  if (rest >= 1e-3) {
    rest_distance_ += rest_distance / rest;
    rest_rows_ += 1.0;
  }
}

double SpanStatistics::mean_distance() const {
  return rows_ > 0 ? distance_ / rows_ : kUndefined;
}
double SpanStatistics::relative_distance() const {
  return relative_rows_ > 0 ? relative_ / relative_rows_ : kUndefined;
}
double SpanStatistics::mean_distance_without_sink() const {
  return rest_rows_ > 0 ? rest_distance_ / rest_rows_ : kUndefined;
}

std::vector<double> SpanStatistics::window_mass() const {
  std::vector<double> mean = window_;
  for (double& mass : mean) mass = rows_ > 0 ? mass / rows_ : kUndefined;
  return mean;
}

std::vector<double> SpanStatistics::octaves() const {
  std::vector<double> mean(octave_.begin(), octave_.end());
  for (double& mass : mean) mass = rows_ > 0 ? mass / rows_ : kUndefined;
  return mean;
}

double SpanStatistics::span(double level) const {
  double below = 0.0;
  const double wanted = (level - 1e-6) * rows_;  // f32 rows sum to 1 - 1e-6
  for (std::size_t b = 0; b < octave_.size(); ++b) {
    if (octave_[b] > 0.0 && below + octave_[b] >= wanted) {
      const double first = b == 0 ? 0.0 : std::exp2(static_cast<double>(b) - 1.0), count = std::max(1.0, first);
      return first + std::ceil(count * std::max(0.0, wanted - below) / octave_[b]);
    }
    below += octave_[b];
  }
  return kUndefined;
}

ElasticSpan fit_elastic_span(std::span<const double> length, std::span<const double> span) {
  HEADLIGHT_CHECK(length.size() == span.size());
  const auto n = static_cast<double>(length.size());
  double mx = 0.0, my = 0.0, xx = 0.0, xy = 0.0, yy = 0.0;
  for (std::size_t k = 0; k < length.size(); ++k) {
    mx += length[k] / n;
    my += span[k] / n;
  }
  for (std::size_t k = 0; k < length.size(); ++k) {
    xx += (length[k] - mx) * (length[k] - mx);
    xy += (length[k] - mx) * (span[k] - my);
    yy += (span[k] - my) * (span[k] - my);
  }
  if (!(xx > 0.0)) return {kUndefined, kUndefined, kUndefined};
  const double beta = xy / xx;
  return {my - beta * mx, beta, yy > 0.0 ? xy * xy / (xx * yy) : 1.0};
}

}  // namespace headlight::analysis
