#include "analysis/roles/mean_qk.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace headlight::analysis {
namespace {

void turn(std::span<double> x_d, const RotaryFrequencies& rotary, double position, double magnitude) {
  const std::size_t half = rotary.inv_freq.size();
  HEADLIGHT_CHECK(2 * half <= x_d.size());
  for (std::size_t f = 0; f < half; ++f) {
    const double c = magnitude * std::cos(position * rotary.inv_freq[f]);
    const double s = magnitude * std::sin(position * rotary.inv_freq[f]);
    const double a = x_d[f], b = x_d[f + half];
    x_d[f] = a * c - b * s;
    x_d[f + half] = b * c + a * s;
  }
}

}  // namespace

void rotate(std::span<double> x_d, const RotaryFrequencies& rotary, double position) {
  turn(x_d, rotary, position, rotary.magnitude);
}

void rotate_back(std::span<double> x_d, const RotaryFrequencies& rotary, double position) {
  turn(x_d, rotary, -position, 1.0 / rotary.magnitude);
}

double cumulative_area(std::span<const double> attn_j) {
  double running = 0, area = 0;
  for (const double a : attn_j) {
    running += a;
    area += running;
  }
  return area / static_cast<double>(attn_j.size());
}

double mean_qk_score(std::span<const double> q_d, std::span<const double> k_d, const RotaryFrequencies& rotary,
                     double scale, std::int64_t length) {
  HEADLIGHT_CHECK(q_d.size() == k_d.size() && length > 0);
  std::vector<double> q(q_d.begin(), q_d.end()), attn_j(static_cast<std::size_t>(length));
  rotate(q, rotary, static_cast<double>(length - 1));
  double largest = -INFINITY;
  for (std::size_t p = 0; p < attn_j.size(); ++p) {
    std::vector<double> k(k_d.begin(), k_d.end());
    rotate(k, rotary, static_cast<double>(p));
    double dot = 0;
    for (std::size_t d = 0; d < q.size(); ++d) dot += q[d] * k[d];
    attn_j[p] = scale * dot;
    largest = std::max(largest, attn_j[p]);
  }
  double sum = 0;
  for (double& a : attn_j) sum += a = std::exp(a - largest);
  for (double& a : attn_j) a /= sum;
  return cumulative_area(attn_j);
}

}  // namespace headlight::analysis
