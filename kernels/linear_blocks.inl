// Block formats as 8-bit codes with scales, decoded with AVX2 integer instructions. Included by the units
// linear_<tier>.cpp only; everything has internal linkage, because each unit is compiled for another instruction set.
//
// Values are taken in spans of eight groups of 32 (the last span of a row may be shorter). A format states
// kGroupsPerBlock, kBlockBytes, kHalves (a scale per 16 values instead of 32) and kMinimum, and gives
//   Header(span, groups)  scale[8] (or [16]) and minimum[8] of a span
//   codes(block, g)       the 32 codes of group g of a block, with value = code * scale + minimum

#pragma once

#include <cstdint>

#include <immintrin.h>

namespace headlight::kernels {
namespace {

using Block = const std::uint8_t*;

inline __m128i load16(Block p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m256i load32(Block p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

template <class T>
inline T read(Block p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

inline float half_at(Block p) {
  return _cvtsh_ss(read<std::uint16_t>(p));
}

/// The low nibbles of 16 bytes, then the high ones.
inline __m256i nibbles(Block qs) {
  const __m128i raw = load16(qs);
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(raw, 4), raw), _mm256_set1_epi8(15));
}

/// 16 in byte j where bit j is set.
inline __m256i fifth_bits(std::uint32_t bits) {
  const __m256i byte_of_lane = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of_lane = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of_lane);
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit_of_lane), bit_of_lane);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

inline __m256i iq4_values(__m256i codes) {
  const __m128i table = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return _mm256_shuffle_epi8(_mm256_set_m128i(table, table), codes);
}

/// Has later reads come from memory. Broadcasting a scale from memory is free; the compiler would rather shuffle it out
/// of a register, on the one port that the products need.
template <class T>
inline void keep_in_memory(T& value) {
  asm volatile("" : "+m"(value));
}

/// The halves at p, p + stride, ... as one vector, `count` <= 8 of them. Collected in general registers: narrow stores
/// before a wide load would stall, inserting into a vector would keep the shuffle port busy.
template <int kStride>
inline __m128i eight_halves(Block p, int count) {
  const auto four = [&](int first) {
    std::uint64_t bits = 0;
    for (int j = 0; j < 4; ++j)
      if (first + j < count) bits |= std::uint64_t{read<std::uint16_t>(p + (first + j) * kStride)} << (16 * j);
    return static_cast<long long>(bits);
  };
  return _mm_set_epi64x(four(4), four(0));
}

/// Scales of up to eight blocks of 32 values. Converting eight at a time matters: a conversion per block costs as much
/// as the block's products.
template <int kBlockBytes, bool kWithMinimum>
struct EightHeaders {
  float scale[8], minimum[8];
  EightHeaders(Block b, int count) {
    _mm256_storeu_ps(scale, _mm256_cvtph_ps(eight_halves<kBlockBytes>(b, count)));
    keep_in_memory(scale);
    if constexpr (kWithMinimum) _mm256_storeu_ps(minimum, _mm256_cvtph_ps(eight_halves<kBlockBytes>(b + 2, count)));
  }
};

/// Blocks of 32 values, taken in spans of eight: group g of a span is block g.
template <int kBytes, bool kWithMinimum>
struct SmallBlock {
  static constexpr int kGroupsPerBlock = 1, kBlockBytes = kBytes;
  static constexpr bool kHalves = false, kMinimum = kWithMinimum;
  using Header = EightHeaders<kBytes, kWithMinimum>;
};

/// Blocks of 256 values: a span is one block.
template <int kBytes, bool kWithHalves, bool kWithMinimum>
struct LargeBlock {
  static constexpr int kGroupsPerBlock = 8, kBlockBytes = kBytes;
  static constexpr bool kHalves = kWithHalves, kMinimum = kWithMinimum;
};

struct Q4_0 : SmallBlock<18, false> {
  static __m256i codes(Block b, int) { return _mm256_sub_epi8(nibbles(b + 2), _mm256_set1_epi8(8)); }
};

struct Q4_1 : SmallBlock<20, true> {
  static __m256i codes(Block b, int) { return nibbles(b + 4); }
};

struct Q5_0 : SmallBlock<22, false> {
  static __m256i codes(Block b, int) {
    const __m256i q = _mm256_or_si256(nibbles(b + 6), fifth_bits(read<std::uint32_t>(b + 2)));
    return _mm256_sub_epi8(q, _mm256_set1_epi8(16));
  }
};

struct Q5_1 : SmallBlock<24, true> {
  static __m256i codes(Block b, int) { return _mm256_or_si256(nibbles(b + 8), fifth_bits(read<std::uint32_t>(b + 4))); }
};

struct Q8_0 : SmallBlock<34, false> {
  static __m256i codes(Block b, int) { return load32(b + 2); }
};

struct Iq4Nl : SmallBlock<18, false> {
  static __m256i codes(Block b, int) { return iq4_values(nibbles(b + 2)); }
};

struct Iq4Xs : LargeBlock<136, false, false> {
  struct Header {
    float scale[8];
    Header(Block b, int) {
      const float d = half_at(b);
      const unsigned high = read<std::uint16_t>(b + 2), low = read<std::uint32_t>(b + 4);
      for (int g = 0; g < 8; ++g) {
        const int sc = static_cast<int>(((low >> (4 * g)) & 15u) | (((high >> (2 * g)) & 3u) << 4));
        scale[g] = d * static_cast<float>(sc - 32);
      }
    }
  };
  static __m256i codes(Block b, int g) { return iq4_values(nibbles(b + 8 + 16 * g)); }
};

/// d * sc and -(dmin * m) of the eight groups: 6-bit sc and m packed into 12 bytes.
struct PackedScales {
  float scale[8], minimum[8];
  PackedScales(Block b, int) {
    const auto u0 = read<std::uint32_t>(b + 4), u1 = read<std::uint32_t>(b + 8), u2 = read<std::uint32_t>(b + 12);
    const std::uint32_t scale_low = u0 & 0x3f3f3f3fu;
    const std::uint32_t scale_high = (u2 & 0x0f0f0f0fu) | (((u0 >> 6) & 0x03030303u) << 4);
    const std::uint32_t minimum_low = u1 & 0x3f3f3f3fu;
    const std::uint32_t minimum_high = ((u2 >> 4) & 0x0f0f0f0fu) | (((u1 >> 6) & 0x03030303u) << 4);
    _mm256_storeu_ps(scale, _mm256_mul_ps(_mm256_set1_ps(half_at(b)), bytes_to_floats(scale_low, scale_high)));
    const __m256 m = _mm256_mul_ps(_mm256_set1_ps(half_at(b + 2)), bytes_to_floats(minimum_low, minimum_high));
    _mm256_storeu_ps(minimum, _mm256_xor_ps(m, _mm256_set1_ps(-0.0f)));
    keep_in_memory(scale);
  }
  static __m256 bytes_to_floats(std::uint32_t low, std::uint32_t high) {
    const auto bytes = static_cast<long long>(low | (static_cast<std::uint64_t>(high) << 32));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes)));
  }
};

/// Nibbles of 32 bytes that two neighbouring groups share: low ones for the even group.
inline __m256i shared_nibbles(Block qs, int g) {
  const __m256i raw = load32(qs + 32 * (g / 2));
  return _mm256_and_si256(g % 2 ? _mm256_srli_epi16(raw, 4) : raw, _mm256_set1_epi8(15));
}

struct Q4_K : LargeBlock<144, false, true> {
  using Header = PackedScales;
  static __m256i codes(Block b, int g) { return shared_nibbles(b + 16, g); }
};

struct Q5_K : LargeBlock<176, false, true> {
  using Header = PackedScales;
  static __m256i codes(Block b, int g) {
    const __m256i bit = _mm256_set1_epi8(static_cast<char>(1u << g));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(load32(b + 16), bit), bit);
    return _mm256_or_si256(shared_nibbles(b + 48, g), _mm256_and_si256(set, _mm256_set1_epi8(16)));
  }
};

struct Q6_K : LargeBlock<210, true, false> {
  struct Header {
    float scale[16];
    Header(Block b, int) {
      const __m256 d = _mm256_set1_ps(half_at(b + 208));
      const __m128i sc = load16(b + 192);
      _mm256_storeu_ps(scale, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sc))));
      _mm256_storeu_ps(scale + 8, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(sc, 8)))));
      keep_in_memory(scale);
    }
  };
  static __m256i codes(Block b, int g) {
    const int half = g / 4, quarter = g % 4;
    const __m256i ql = load32(b + 64 * half + 32 * (quarter % 2)), qh = load32(b + 128 + 32 * half);
    const __m256i low = _mm256_and_si256(quarter / 2 ? _mm256_srli_epi16(ql, 4) : ql, _mm256_set1_epi8(15));
    const __m256i two = _mm256_and_si256(_mm256_srli_epi16(qh, 2 * quarter), _mm256_set1_epi8(3));
    return _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(two, 4)), _mm256_set1_epi8(32));
  }
};

constexpr int kSpan = 256;  // values: eight groups

template <class Format>
constexpr int kSpanBytes = 8 / Format::kGroupsPerBlock* Format::kBlockBytes;

/// Calls take(k, groups, span) for every span of a row: its first value, its groups, its first block.
template <class Format, class Take>
inline void each_span(Block row, std::int64_t cols, const Take& take) {
  std::int64_t k = 0;
  for (; k + kSpan <= cols; k += kSpan, row += kSpanBytes<Format>) take(k, 8, row);
  if (Format::kGroupsPerBlock == 1 && k < cols) take(k, static_cast<int>(cols - k) / 32, row);
}

/// Asks for the weights of a few spans ahead: their rows lie one after the other.
template <class Format>
inline void prefetch_ahead(Block span) {
  constexpr int kAhead = 2048;
  for (int line = 0; line < kSpanBytes<Format>; line += 64)
    _mm_prefetch(reinterpret_cast<const char*>(span + kAhead + line), _MM_HINT_T0);
}

inline float sum_8(__m256 v) {
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

/// total + minimum * (sum of x) of the groups of a span, per lane.
inline __m256 minimum_products(const float* minimum, const float* sums, int groups, __m256 total) {
  if (groups == 8) return _mm256_fmadd_ps(_mm256_loadu_ps(minimum), _mm256_loadu_ps(sums), total);
  float lanes[8] = {};
  __builtin_memcpy(lanes, sums, static_cast<std::size_t>(groups) * sizeof(float));
  return _mm256_fmadd_ps(_mm256_loadu_ps(minimum), _mm256_loadu_ps(lanes), total);
}

}  // namespace
}  // namespace headlight::kernels
