#include "kernels/dequantize.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"
#include "base/error.h"

// The names of fields follow the format: d = block scale, m = block minimum, sc = scales of sub-blocks, qs = low bits
// of the quants, qh = their high bits. Blocks are read byte by byte, so rows need no alignment.

namespace headlight::kernels {
namespace {

constexpr std::array<int, 16> kIq4Values{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

using Block = const std::uint8_t*;

std::uint16_t u16_at(Block b, int offset) {
  return static_cast<std::uint16_t>(b[offset] | (b[offset + 1] << 8));
}

std::uint32_t u32_at(Block b, int offset) {
  return u16_at(b, offset) | (static_cast<std::uint32_t>(u16_at(b, offset + 2)) << 16);
}

float f16_at(Block b, int offset) {
  return f16_to_f32(u16_at(b, offset));
}

void q4_0(Block b, float* y) {
  const float d = f16_at(b, 0);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((b[2 + j] & 15) - 8) * d;
    y[j + 16] = static_cast<float>((b[2 + j] >> 4) - 8) * d;
  }
}

void q4_1(Block b, float* y) {
  const float d = f16_at(b, 0), m = f16_at(b, 2);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(b[4 + j] & 15) * d + m;
    y[j + 16] = static_cast<float>(b[4 + j] >> 4) * d + m;
  }
}

// Five-bit quants: four bits in the nibbles at qs, the fifth in bit j of qh. Value j of the block, 0..31.
int five_bits(Block qs, std::uint32_t qh, int j) {
  const int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
  return low | (static_cast<int>((qh >> j) & 1u) << 4);
}

void q5_0(Block b, float* y) {
  const float d = f16_at(b, 0);
  const std::uint32_t qh = u32_at(b, 2);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(five_bits(b + 6, qh, j) - 16) * d;
}

void q5_1(Block b, float* y) {
  const float d = f16_at(b, 0), m = f16_at(b, 2);
  const std::uint32_t qh = u32_at(b, 4);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(five_bits(b + 8, qh, j)) * d + m;
}

void q8_0(Block b, float* y) {
  const float d = f16_at(b, 0);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(b[2 + j])) * d;
}

void iq4_nl(Block b, float* y) {
  const float d = f16_at(b, 0);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(kIq4Values[b[2 + j] & 15]) * d;
    y[j + 16] = static_cast<float>(kIq4Values[b[2 + j] >> 4]) * d;
  }
}

void iq4_xs(Block b, float* y) {
  const float d = f16_at(b, 0);
  const int high = u16_at(b, 2);
  for (int i = 0; i < 8; ++i) {
    const int scale = ((b[4 + i / 2] >> (4 * (i % 2))) & 15) | (((high >> (2 * i)) & 3) << 4);
    const float dl = d * static_cast<float>(scale - 32);
    const Block qs = b + 8 + 16 * i;
    for (int j = 0; j < 16; ++j) {
      y[32 * i + j] = dl * static_cast<float>(kIq4Values[qs[j] & 15]);
      y[32 * i + 16 + j] = dl * static_cast<float>(kIq4Values[qs[j] >> 4]);
    }
  }
}

void q2_k(Block b, float* y) {
  const Block qs = b + 16;
  const float d = f16_at(b, 80), dmin = f16_at(b, 82);
  for (int i = 0; i < 16; ++i) {  // sub-blocks of 16 values: i = 8 half + 2 shift + part
    const int half = i / 8, shift = (i % 8) / 2, part = i % 2;
    const float scale = d * static_cast<float>(b[i] & 15), minimum = dmin * static_cast<float>(b[i] >> 4);
    for (int l = 0; l < 16; ++l) {
      const int q = (qs[32 * half + 16 * part + l] >> (2 * shift)) & 3;
      y[16 * i + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void q3_k(Block b, float* y) {
  const Block hmask = b, qs = b + 32, scales = b + 96;
  const float d = f16_at(b, 108);
  for (int i = 0; i < 16; ++i) {
    const int half = i / 8, shift = (i % 8) / 2, part = i % 2;
    const int low = (scales[i % 8] >> (4 * (i / 8))) & 15, high = (scales[8 + i % 4] >> (2 * (i / 4))) & 3;
    const float scale = d * static_cast<float>((low | (high << 4)) - 32);
    for (int l = 0; l < 16; ++l) {
      const int q = (qs[32 * half + 16 * part + l] >> (2 * shift)) & 3;
      const int bit = (hmask[16 * part + l] >> (4 * half + shift)) & 1;
      y[16 * i + l] = scale * static_cast<float>(q - (bit ? 0 : 4));
    }
  }
}

// Six-bit scale and minimum of sub-block i, packed into 12 bytes (Q4_K, Q5_K).
struct ScaleMin {
  int scale, minimum;
};

ScaleMin unpack_scale(Block s, int i) {
  if (i < 4) return {s[i] & 63, s[i + 4] & 63};
  return {(s[i + 4] & 15) | ((s[i - 4] >> 6) << 4), (s[i + 4] >> 4) | ((s[i] >> 6) << 4)};
}

void q4_k(Block b, float* y) {
  const float d = f16_at(b, 0), dmin = f16_at(b, 2);
  for (int i = 0; i < 8; ++i) {
    const auto [sc, m] = unpack_scale(b + 4, i);
    const float scale = d * static_cast<float>(sc), minimum = dmin * static_cast<float>(m);
    const Block qs = b + 16 + 32 * (i / 2);
    for (int l = 0; l < 32; ++l) {
      const int q = (qs[l] >> (4 * (i % 2))) & 15;
      y[32 * i + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void q5_k(Block b, float* y) {
  const float d = f16_at(b, 0), dmin = f16_at(b, 2);
  const Block qh = b + 16;
  for (int i = 0; i < 8; ++i) {
    const auto [sc, m] = unpack_scale(b + 4, i);
    const float scale = d * static_cast<float>(sc), minimum = dmin * static_cast<float>(m);
    const Block qs = b + 48 + 32 * (i / 2);
    for (int l = 0; l < 32; ++l) {
      const int q = ((qs[l] >> (4 * (i % 2))) & 15) | (((qh[l] >> i) & 1) << 4);
      y[32 * i + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void q6_k(Block b, float* y) {
  const Block ql = b, qh = b + 128, scales = b + 192;
  const float d = f16_at(b, 208);
  for (int i = 0; i < 16; ++i) {  // sub-blocks of 16 values: i = 8 half + 2 group + part
    const int half = i / 8, group = (i % 8) / 2, part = i % 2;
    const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[i]));
    for (int k = 0; k < 16; ++k) {
      const int l = 16 * part + k;
      const int low = (ql[64 * half + 32 * (group % 2) + l] >> (4 * (group / 2))) & 15;
      const int high = (qh[32 * half + l] >> (2 * group)) & 3;
      y[16 * i + k] = scale * static_cast<float>((low | (high << 4)) - 32);
    }
  }
}

template <void (*Decode)(Block, float*), int kBlockSize, int kBlockBytes>
void each_block(Block row, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); i += kBlockSize, row += kBlockBytes) Decode(row, out.data() + i);
}

}  // namespace

void dequantize_row(TensorType type, const std::byte* row, std::span<float> out) {
  HEADLIGHT_CHECK(out.size() % info(type).block_size == 0);
  const auto* bytes = reinterpret_cast<Block>(row);
  switch (type) {
    case TensorType::f32:
      if (!out.empty()) std::memcpy(out.data(), row, out.size_bytes());
      return;
    case TensorType::f16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = f16_at(bytes + 2 * i, 0);
      return;
    case TensorType::bf16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = bf16_to_f32(u16_at(bytes + 2 * i, 0));
      return;
    case TensorType::q4_0:
      return each_block<q4_0, 32, 18>(bytes, out);
    case TensorType::q4_1:
      return each_block<q4_1, 32, 20>(bytes, out);
    case TensorType::q5_0:
      return each_block<q5_0, 32, 22>(bytes, out);
    case TensorType::q5_1:
      return each_block<q5_1, 32, 24>(bytes, out);
    case TensorType::q8_0:
      return each_block<q8_0, 32, 34>(bytes, out);
    case TensorType::q2_k:
      return each_block<q2_k, 256, 84>(bytes, out);
    case TensorType::q3_k:
      return each_block<q3_k, 256, 110>(bytes, out);
    case TensorType::q4_k:
      return each_block<q4_k, 256, 144>(bytes, out);
    case TensorType::q5_k:
      return each_block<q5_k, 256, 176>(bytes, out);
    case TensorType::q6_k:
      return each_block<q6_k, 256, 210>(bytes, out);
    case TensorType::iq4_nl:
      return each_block<iq4_nl, 32, 18>(bytes, out);
    case TensorType::iq4_xs:
      return each_block<iq4_xs, 256, 136>(bytes, out);
  }
  throw ContractViolation("a TensorType that is not dequantised");
}

}  // namespace headlight::kernels
