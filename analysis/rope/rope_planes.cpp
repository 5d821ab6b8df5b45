#include "analysis/rope/rope_planes.h"

#include <cmath>
#include <numbers>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {

double plane_frequency(int plane, int head_dim, double base) {
  return std::pow(base, -2.0 * plane / head_dim);
}

double plane_wavelength(int plane, int head_dim, double base) {
  return 2.0 * std::numbers::pi / plane_frequency(plane, head_dim, base);
}

std::vector<double> plane_usage(std::span<const float> x_id, int head_dim) {
  const auto half = static_cast<std::size_t>(head_dim / 2), width = static_cast<std::size_t>(head_dim);
  std::vector<double> usage(half, 0.0);
  const double rows = static_cast<double>(x_id.size()) / static_cast<double>(width);
  for (std::size_t begin = 0; begin < x_id.size(); begin += width)
    for (std::size_t f = 0; f < half; ++f)
      usage[f] += std::hypot(static_cast<double>(x_id[begin + f]), static_cast<double>(x_id[begin + f + half])) / rows;
  return usage;
}

double spectral_centroid(std::span<const double> usage_f) {
  double sum = 0.0, moment = 0.0;
  for (std::size_t f = 0; f < usage_f.size(); ++f) {
    sum += usage_f[f];
    moment += static_cast<double>(f) * usage_f[f];
  }
  return sum > 0 ? moment / sum : kUndefined;
}

double band_usage(std::span<const double> usage_f, int begin, int end) {
  double sum = 0.0, band = 0.0;
  for (int f = 0; f < static_cast<int>(usage_f.size()); ++f) {
    sum += usage_f[static_cast<std::size_t>(f)];
    if (f >= begin && f < end) band += usage_f[static_cast<std::size_t>(f)];
  }
  return sum > 0 ? band / sum : kUndefined;
}

int planes_up_to(double tokens, int head_dim, double base) {
  int count = 0;
  while (count < head_dim / 2 && plane_wavelength(count, head_dim, base) <= tokens) ++count;
  return count;
}

BandShare band_share(std::span<const float> q_d, std::span<const float> k_d, int high_end, int low_begin) {
  const std::size_t half = q_d.size() / 2;
  double high = 0.0, low = 0.0, all = 0.0;
  for (std::size_t f = 0; f < half; ++f) {
    const double c = static_cast<double>(q_d[f]) * static_cast<double>(k_d[f]) +
                     static_cast<double>(q_d[f + half]) * static_cast<double>(k_d[f + half]);
    all += std::abs(c);
    if (static_cast<int>(f) < high_end) high += c;
    if (static_cast<int>(f) >= low_begin) low += c;
  }
  return all > 0 ? BandShare{std::abs(high) / all, std::abs(low) / all} : BandShare{kUndefined, kUndefined};
}

void unrotate(std::span<float> x_d, std::int64_t position, int begin, double base) {
  const std::size_t half = x_d.size() / 2;
  for (auto f = static_cast<std::size_t>(begin); f < half; ++f) {
    const double angle =
        static_cast<double>(position) * plane_frequency(static_cast<int>(f), static_cast<int>(x_d.size()), base);
    const double c = std::cos(angle), s = std::sin(angle), a = x_d[f], b = x_d[f + half];
    x_d[f] = static_cast<float>(c * a + s * b);
    x_d[f + half] = static_cast<float>(c * b - s * a);
  }
}

double correlation(std::span<const double> x, std::span<const double> y) {
  HEADLIGHT_CHECK(x.size() == y.size());
  double n = 0.0, mx = 0.0, my = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
  const auto defined = [&](std::size_t k) { return !std::isnan(x[k]) && !std::isnan(y[k]); };
  for (std::size_t k = 0; k < x.size(); ++k) {
    if (!defined(k)) continue;
    n += 1.0;
    mx += x[k];
    my += y[k];
  }
  mx /= n;
  my /= n;
  for (std::size_t k = 0; k < x.size(); ++k) {
    if (!defined(k)) continue;
    xx += (x[k] - mx) * (x[k] - mx);
    yy += (y[k] - my) * (y[k] - my);
    xy += (x[k] - mx) * (y[k] - my);
  }
  return n >= 2 && xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : kUndefined;
}

}  // namespace headlight::analysis
