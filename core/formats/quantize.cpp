#include "core/formats/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <fmt/format.h>

#include "base/dtype.h"
#include "base/error.h"

namespace headlight::formats {
namespace {

using Values = std::span<const float>;

class BlockBytes {
 public:
  void put(int byte) { bytes_.push_back(static_cast<std::byte>(byte)); }
  void put_half(std::uint16_t half) {
    put(half & 255);
    put(half >> 8);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// A scale as it will be read back.
struct Half {
  std::uint16_t bits;
  float value;
  explicit Half(float x) : bits(f32_to_f16(x)), value(f16_to_f32(bits)) {}
};

float largest(Values x) {
  float m = 0;
  for (const float v : x) m = std::max(m, std::fabs(v));
  return m;
}

int nearest(float x, float scale, int low, int high) {
  return scale == 0 ? std::clamp(0, low, high) : std::clamp(static_cast<int>(std::lround(x / scale)), low, high);
}

/// Q4_0, Q5_0: values (q - half) d with q in [0, 2 half). Q4_1, Q5_1: q d + m.
void put_nibbles(BlockBytes& out, Values x, int bits, bool with_minimum) {
  const int levels = 1 << bits, half = levels / 2;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const Half d(with_minimum ? (*high - *low) / static_cast<float>(levels - 1) : largest(x) / static_cast<float>(half));
  const Half m(with_minimum ? *low : 0.0f);
  std::array<int, 32> q{};
  for (int j = 0; j < 32; ++j)
    q[j] =
        with_minimum ? nearest(x[j] - m.value, d.value, 0, levels - 1) : nearest(x[j], d.value, -half, half - 1) + half;
  out.put_half(d.bits);
  if (with_minimum) out.put_half(m.bits);
  if (bits == 5) {
    std::uint32_t high_bits = 0;
    for (int j = 0; j < 32; ++j) high_bits |= static_cast<std::uint32_t>(q[j] >> 4) << j;
    for (int k = 0; k < 4; ++k) out.put(static_cast<int>((high_bits >> (8 * k)) & 255));
  }
  for (int j = 0; j < 16; ++j) out.put((q[j] & 15) | ((q[j + 16] & 15) << 4));
}

void put_q8_0(BlockBytes& out, Values x) {
  const Half d(largest(x) / 127.0f);
  out.put_half(d.bits);
  for (const float v : x) out.put(nearest(v, d.value, -127, 127) & 255);
}

/// Q4_K and Q5_K: eight sub-blocks with six-bit scales and minima.
void put_k45(BlockBytes& out, Values x, int bits) {
  const int levels = 1 << bits;
  std::array<float, 8> scale{}, minimum{};
  for (int i = 0; i < 8; ++i) {
    const auto part = x.subspan(static_cast<std::size_t>(32 * i), 32);
    const float low = std::min(0.0f, *std::min_element(part.begin(), part.end()));
    const float high = std::max(0.0f, *std::max_element(part.begin(), part.end()));
    scale[i] = (high - low) / static_cast<float>(levels - 1);
    minimum[i] = -low;
  }
  const Half d(largest(scale) / 63.0f), dmin(largest(minimum) / 63.0f);
  std::array<int, 8> sc{}, m{};
  for (int i = 0; i < 8; ++i) {
    sc[i] = nearest(scale[i], d.value, 0, 63);
    m[i] = nearest(minimum[i], dmin.value, 0, 63);
  }
  out.put_half(d.bits);
  out.put_half(dmin.bits);
  for (int i = 0; i < 4; ++i) out.put(sc[i] | ((sc[i + 4] >> 4) << 6));
  for (int i = 0; i < 4; ++i) out.put(m[i] | ((m[i + 4] >> 4) << 6));
  for (int i = 0; i < 4; ++i) out.put((sc[i + 4] & 15) | ((m[i + 4] & 15) << 4));
  std::array<int, 256> q{};
  for (int k = 0; k < 256; ++k) {
    const int i = k / 32;
    q[k] = nearest(x[k] + dmin.value * static_cast<float>(m[i]), d.value * static_cast<float>(sc[i]), 0, levels - 1);
  }
  if (bits == 5)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int i = 0; i < 8; ++i) byte |= (q[32 * i + l] >> 4) << i;
      out.put(byte);
    }
  for (int i = 0; i < 8; i += 2)
    for (int l = 0; l < 32; ++l) out.put((q[32 * i + l] & 15) | ((q[32 * (i + 1) + l] & 15) << 4));
}

void put_q6_k(BlockBytes& out, Values x) {
  std::array<float, 16> scale{};
  for (int i = 0; i < 16; ++i) scale[i] = largest(x.subspan(static_cast<std::size_t>(16 * i), 16)) / 31.0f;
  const Half d(largest(scale) / 127.0f);
  std::array<int, 16> sc{};
  std::array<int, 256> q{};
  for (int i = 0; i < 16; ++i) {
    sc[i] = nearest(scale[i], d.value, 0, 127);
    for (int k = 16 * i; k < 16 * (i + 1); ++k) q[k] = nearest(x[k], d.value * static_cast<float>(sc[i]), -32, 31) + 32;
  }
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 64; ++l) out.put((q[128 * half + l] & 15) | ((q[128 * half + 64 + l] & 15) << 4));
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int group = 0; group < 4; ++group) byte |= (q[128 * half + 32 * group + l] >> 4) << (2 * group);
      out.put(byte);
    }
  for (const int s : sc) out.put(s & 255);
  out.put_half(d.bits);
}

void put_block(BlockBytes& out, TensorType type, Values x) {
  switch (type) {
    case TensorType::f16:
      return out.put_half(f32_to_f16(x[0]));
    case TensorType::bf16:
      return out.put_half(f32_to_bf16(x[0]));
    case TensorType::q4_0:
      return put_nibbles(out, x, 4, false);
    case TensorType::q4_1:
      return put_nibbles(out, x, 4, true);
    case TensorType::q5_0:
      return put_nibbles(out, x, 5, false);
    case TensorType::q5_1:
      return put_nibbles(out, x, 5, true);
    case TensorType::q8_0:
      return put_q8_0(out, x);
    case TensorType::q4_k:
      return put_k45(out, x, 4);
    case TensorType::q5_k:
      return put_k45(out, x, 5);
    case TensorType::q6_k:
      return put_q6_k(out, x);
    default:
      throw Error(Errc::unsupported, fmt::format("cannot write weights as {}", info(type).name));
  }
}

}  // namespace

std::vector<std::byte> quantize_row(TensorType type, std::span<const float> values) {
  if (type == TensorType::f32) {
    std::vector<std::byte> bytes(values.size_bytes());
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  const std::size_t block = info(type).block_size;
  if (values.size() % block != 0)
    throw Error(Errc::invalid_argument, fmt::format("a row of {} values is not whole blocks of {} ({})", values.size(),
                                                    block, info(type).name));
  BlockBytes out;
  for (std::size_t i = 0; i < values.size(); i += block) put_block(out, type, values.subspan(i, block));
  return out.take();
}

std::vector<std::byte> quantize_rows(TensorType type, std::span<const float> values, std::size_t cols) {
  std::vector<std::byte> all;
  for (std::size_t i = 0; i < values.size(); i += cols) {
    const auto row = quantize_row(type, values.subspan(i, cols));
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

}  // namespace headlight::formats
