#include "analysis/sinks/visual_sinks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

double root_mean_square(const float* x, int num_dims) {
  double sum = 0.0;
  for (int c = 0; c < num_dims; ++c) sum += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  return std::sqrt(sum / num_dims + 1e-6);
}

}  // namespace

std::vector<double> sink_dimension_strength(std::span<const float> x_td, int num_dims, std::span<const int> channels) {
  std::vector<double> phi;
  for (std::size_t at = 0; at < x_td.size(); at += static_cast<std::size_t>(num_dims)) {
    double largest = 0.0;
    for (const int c : channels) {
      HEADLIGHT_CHECK(c >= 0 && c < num_dims);
      largest = std::max(largest, static_cast<double>(std::abs(x_td[at + static_cast<std::size_t>(c)])));
    }
    phi.push_back(largest / root_mean_square(&x_td[at], num_dims));
  }
  return phi;
}

double default_tau(int num_dims) {
  return 0.3125 * std::sqrt(static_cast<double>(num_dims));
}

std::vector<double> channel_strength(std::span<const float> x_td, int num_dims) {
  const auto width = static_cast<std::size_t>(num_dims), tokens = x_td.size() / width;
  std::vector<double> strength(width, 0.0);
  std::vector<float> ratio_ct(x_td.size());
  for (std::size_t t = 0; t < tokens; ++t) {
    const double rms = root_mean_square(&x_td[t * width], num_dims);
    for (std::size_t c = 0; c < width; ++c)
      ratio_ct[c * tokens + t] = static_cast<float>(static_cast<double>(std::abs(x_td[t * width + c])) / rms);
  }
  for (std::size_t c = 0; c < width && tokens > 0; ++c) {
    const auto from = ratio_ct.begin() + static_cast<std::ptrdiff_t>(c * tokens),
               to = from + static_cast<std::ptrdiff_t>(tokens);
    const double largest = *std::max_element(from, to);
    const auto middle = from + static_cast<std::ptrdiff_t>((tokens - 1) / 2);
    std::nth_element(from, middle, to);
    strength[c] = largest - static_cast<double>(*middle);
  }
  return strength;
}

std::vector<int> find_sink_channels(std::span<const double> strength_lc, int num_dims) {
  const auto width = static_cast<std::size_t>(num_dims);
  const std::size_t levels = strength_lc.size() / width;
  const double threshold = 0.25 * std::sqrt(static_cast<double>(num_dims));
  std::vector<std::pair<double, int>> found;
  for (std::size_t c = 0; c < width && levels > 0; ++c) {
    std::vector<double> values;
    for (std::size_t l = 0; l < levels; ++l) values.push_back(strength_lc[l * width + c]);
    std::sort(values.begin(), values.end());
    const auto above = values.end() - std::upper_bound(values.begin(), values.end(), threshold);
    if (2 * static_cast<std::size_t>(above) < levels) continue;
    found.emplace_back(-0.5 * (values[(levels - 1) / 2] + values[levels / 2]), static_cast<int>(c));
  }
  std::sort(found.begin(), found.end());
  std::vector<int> channels;
  for (std::size_t n = 0; n < std::min<std::size_t>(4, found.size()); ++n) channels.push_back(found[n].second);
  return channels;
}

double ImageRow::rest_share() const {
  return image > 0 ? (image - sinks) / image : kUndefined;
}

ImageRow image_row(std::span<const float> attn_j, std::span<const std::uint8_t> is_image_j,
                   std::span<const std::uint8_t> is_sink_j) {
  ImageRow row;
  for (std::size_t j = 0; j < attn_j.size(); ++j) {
    if (is_image_j[j] == 0) continue;
    row.image += static_cast<double>(attn_j[j]);
    if (is_sink_j[j] != 0) row.sinks += static_cast<double>(attn_j[j]);
  }
  return row;
}

bool is_image_centric(const ImageRow& row, const ImageCentricOptions& options) {
  if (!(row.image >= options.summ)) return false;
  if (options.released)
    return row.sinks / (row.image + 1e-6 * static_cast<double>(options.num_image_tokens)) <= options.rho;
  return row.rest_share() >= options.rho;
}

}  // namespace headlight::analysis
