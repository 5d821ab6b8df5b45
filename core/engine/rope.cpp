#include "core/engine/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace headlight::engine {
namespace {

using formats::RopeScaling;
using formats::RopeSpec;

constexpr std::int64_t kTableRowsPerTask = 64;
constexpr std::int64_t kExactPositions = std::int64_t{1} << 20;  // f32 products of larger positions lose whole radians

std::int64_t original_context(const RopeScaling& scaling, std::int64_t context_length) {
  return scaling.original_context > 0 ? static_cast<std::int64_t>(scaling.original_context) : context_length;
}

// theta^(2j/rotary_dim) rounded to f32, as the reference implementations have it: the angles of the first frequencies
// are large, so that a last bit more or less here shows in the map.
std::vector<float> position_frequencies(double theta, int rotary_dim) {
  std::vector<float> frequencies(static_cast<std::size_t>(rotary_dim / 2));
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(rotary_dim);
    frequencies[j] = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return frequencies;
}

std::vector<float> inverse(const std::vector<float>& frequencies) {
  std::vector<float> inv(frequencies.size());
  std::transform(frequencies.begin(), frequencies.end(), inv.begin(), [](float f) { return 1.0f / f; });
  return inv;
}

void divide(std::vector<float>& inv_freq, const std::vector<float>& factors) {
  if (factors.size() != inv_freq.size())
    throw Error(Errc::bad_format, "expected " + std::to_string(inv_freq.size()) + " rope factors, found " +
                                      std::to_string(factors.size()));
  for (std::size_t j = 0; j < inv_freq.size(); ++j) inv_freq[j] /= factors[j];
}

void scale_llama3(std::vector<float>& inv_freq, const RopeScaling& scaling, double original) {
  for (float& inv : inv_freq) {
    const double wavelength = 2.0 * std::numbers::pi / static_cast<double>(inv);
    if (wavelength < original / scaling.high_freq_factor) continue;
    const double divided = static_cast<double>(inv) / scaling.factor;
    if (wavelength > original / scaling.low_freq_factor) {
      inv = static_cast<float>(divided);
      continue;
    }
    const double smooth =
        (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    inv = static_cast<float>((1.0 - smooth) * divided + smooth * static_cast<double>(inv));
  }
}

float yarn_magnitude(const RopeScaling& scaling) {
  if (scaling.attention_factor > 0) return static_cast<float>(scaling.attention_factor);
  if (scaling.factor <= 1.0) return 1.0f;
  const auto part = [&](double mscale) { return 0.1 * mscale * std::log(scaling.factor) + 1.0; };
  if (scaling.mscale > 0 && scaling.mscale_all_dim > 0)
    return static_cast<float>(part(scaling.mscale) / part(scaling.mscale_all_dim));
  return static_cast<float>(part(1.0));
}

void scale_yarn(std::vector<float>& inv_freq, const RopeScaling& scaling, double theta, int rotary_dim,
                double original) {
  const auto dimension = [&](double rotations) {
    return rotary_dim * std::log(original / (rotations * 2.0 * std::numbers::pi)) / (2.0 * std::log(theta));
  };
  double low = dimension(scaling.beta_fast), high = dimension(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotary_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t j = 0; j < inv_freq.size(); ++j) {
    const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    const double inv = static_cast<double>(inv_freq[j]);
    inv_freq[j] = static_cast<float>(inv / scaling.factor * ramp + inv * (1.0 - ramp));
  }
}

float longrope_magnitude(const RopeScaling& scaling, std::int64_t context_length, std::int64_t original) {
  if (scaling.attention_factor > 0) return static_cast<float>(scaling.attention_factor);
  const double stretch =
      scaling.factor > 1.0 ? scaling.factor : static_cast<double>(context_length) / static_cast<double>(original);
  if (stretch <= 1.0) return 1.0f;
  return static_cast<float>(std::sqrt(1.0 + std::log(stretch) / std::log(static_cast<double>(original))));
}

double dynamic_theta(const RopeSpec& rope, int rotary_dim, std::int64_t original, std::int64_t length) {
  if (length <= original || rotary_dim <= 2) return rope.theta;
  const double stretch =
      rope.scaling.factor * static_cast<double>(length) / static_cast<double>(original) - (rope.scaling.factor - 1.0);
  return rope.theta * std::pow(stretch, rotary_dim / (rotary_dim - 2.0));
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeSpec& rope, int rotary_dim, std::int64_t context_length,
                                 std::int64_t length) {
  const RopeScaling& scaling = rope.scaling;
  const std::int64_t original = original_context(scaling, context_length);
  const double theta =
      scaling.kind == RopeScaling::Kind::dynamic ? dynamic_theta(rope, rotary_dim, original, length) : rope.theta;
  RopeFrequencies out;
  out.inv_freq = inverse(position_frequencies(theta, rotary_dim));
  switch (scaling.kind) {
    case RopeScaling::Kind::none:
    case RopeScaling::Kind::dynamic:
      break;
    case RopeScaling::Kind::linear:
      for (float& inv : out.inv_freq) inv /= static_cast<float>(scaling.factor);
      break;
    case RopeScaling::Kind::llama3:
      scale_llama3(out.inv_freq, scaling, static_cast<double>(original));
      break;
    case RopeScaling::Kind::yarn:
      scale_yarn(out.inv_freq, scaling, rope.theta, rotary_dim, static_cast<double>(original));
      out.magnitude = yarn_magnitude(scaling);
      break;
    case RopeScaling::Kind::longrope:
      divide(out.inv_freq, length > original ? scaling.long_factor : scaling.short_factor);
      out.magnitude = longrope_magnitude(scaling, context_length, original);
      break;
    case RopeScaling::Kind::factors:
      divide(out.inv_freq, scaling.short_factor);
      break;
  }
  return out;
}

std::int64_t rope_length_key(const RopeSpec& rope, std::int64_t context_length, std::int64_t length) {
  const std::int64_t original = original_context(rope.scaling, context_length);
  if (length <= original) return 0;
  if (rope.scaling.kind == RopeScaling::Kind::longrope) return 1;
  if (rope.scaling.kind == RopeScaling::Kind::dynamic) return length;
  return 0;
}

void fill_rope_table(ThreadPool& pool, const RopeFrequencies& frequencies, std::int64_t first_position, std::int64_t n,
                     float* cos_sin) {
  const std::int64_t half = static_cast<std::int64_t>(frequencies.inv_freq.size());
  const auto fill_rows = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t position = first_position + i;
      float* row = cos_sin + i * 2 * half;
      for (std::int64_t j = 0; j < half; ++j) {
        const float inv = frequencies.inv_freq[static_cast<std::size_t>(j)];
        const double angle = position < kExactPositions ? static_cast<double>(static_cast<float>(position) * inv)
                                                        : static_cast<double>(position) * static_cast<double>(inv);
        row[j] = static_cast<float>(std::cos(angle)) * frequencies.magnitude;
        row[half + j] = static_cast<float>(std::sin(angle)) * frequencies.magnitude;
      }
    }
  };
  if (n < kTableRowsPerTask) return fill_rows(0, n);
  pool.parallel_for((n + kTableRowsPerTask - 1) / kTableRowsPerTask, [&](std::int64_t task, int) {
    fill_rows(task * kTableRowsPerTask, std::min(n, (task + 1) * kTableRowsPerTask));
  });
}

}  // namespace headlight::engine
