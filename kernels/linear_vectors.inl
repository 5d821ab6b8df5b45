// The widest f32 vector of the unit that includes this, kLanes floats.

#pragma once

#include "kernels/linear_blocks.inl"

namespace headlight::kernels {
namespace {

#if defined(__AVX512F__)

constexpr int kLanes = 16;
using Vec = __m512;
inline Vec load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void store(float* p, Vec v) {
  _mm512_storeu_ps(p, v);
}
inline Vec splat(float value) {
  return _mm512_set1_ps(value);
}
inline Vec add(Vec a, Vec b) {
  return _mm512_add_ps(a, b);
}
inline Vec multiply(Vec a, Vec b) {
  return _mm512_mul_ps(a, b);
}
inline Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline Vec from_half(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec from_bfloat(const std::uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
inline float sum_lanes(Vec v) {
  const __m256 half =
      _mm256_add_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
inline Vec from_bytes(__m128i codes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
}
inline void floats_of(__m256i codes, Vec (&v)[2]) {
  v[0] = from_bytes(_mm256_castsi256_si128(codes));
  v[1] = from_bytes(_mm256_extracti128_si256(codes, 1));
}

#else

constexpr int kLanes = 8;
using Vec = __m256;
inline Vec load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline void store(float* p, Vec v) {
  _mm256_storeu_ps(p, v);
}
inline Vec splat(float value) {
  return _mm256_set1_ps(value);
}
inline Vec add(Vec a, Vec b) {
  return _mm256_add_ps(a, b);
}
inline Vec multiply(Vec a, Vec b) {
  return _mm256_mul_ps(a, b);
}
inline Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline Vec from_half(const std::uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec from_bfloat(const std::uint16_t* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
inline float sum_lanes(Vec v) {
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
inline Vec from_bytes(__m128i codes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
}
inline void floats_of(__m256i codes, Vec (&v)[4]) {
  const __m128i low = _mm256_castsi256_si128(codes), high = _mm256_extracti128_si256(codes, 1);
  v[0] = from_bytes(low);
  v[1] = from_bytes(_mm_unpackhi_epi64(low, low));
  v[2] = from_bytes(high);
  v[3] = from_bytes(_mm_unpackhi_epi64(high, high));
}

#endif

constexpr int kGroupVecs = 32 / kLanes;  // vectors of a group of 32 values

#if defined(__AVX512F__)

/// values[nibble] of 16 bytes, low or high nibbles. The look-up sees the low four bits of each index alone.
template <bool kHigh>
inline Vec nibble_floats(__m512i bytes, const float* values) {
  return _mm512_permutexvar_ps(kHigh ? _mm512_srli_epi32(bytes, 4) : bytes, _mm512_loadu_ps(values));
}
constexpr float kPlain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr float kCentred[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
constexpr float kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline __m512i widened(Block p) {
  return _mm512_cvtepu8_epi32(load16(p));
}
inline Vec signed_floats(Block p) {
  return from_bytes(load16(p));
}

#else

template <bool kHigh>
inline Vec nibble_floats(__m256i bytes, int offset) {
  const __m256i nibble = kHigh ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(15));
  return _mm256_cvtepi32_ps(offset ? _mm256_sub_epi32(nibble, _mm256_set1_epi32(offset)) : nibble);
}
constexpr int kPlain = 0, kCentred = 8;

inline __m128i load8(Block p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}
inline __m256i widened(Block p) {
  return _mm256_cvtepu8_epi32(load8(p));
}
inline Vec signed_floats(Block p) {
  return from_bytes(load8(p));
}

#endif

/// Nibbles of 16 bytes straight to floats, low ones first: half the shuffles of going through bytes.
template <class Values>
inline void low_then_high(Block qs, const Values& values, Vec (&v)[kGroupVecs]) {
  for (int u = 0; u < kGroupVecs / 2; ++u) {
    const auto bytes = widened(qs + u * kLanes);
    v[u] = nibble_floats<false>(bytes, values);
    v[u + kGroupVecs / 2] = nibble_floats<true>(bytes, values);
  }
}

/// The codes of group g of a block as floats.
template <class Format>
inline void group_floats(Block b, int g, Vec (&v)[kGroupVecs]) {
  if constexpr (__is_same(Format, Q4_0)) {
    low_then_high(b + 2, kCentred, v);
  } else if constexpr (__is_same(Format, Q4_1)) {
    low_then_high(b + 4, kPlain, v);
#if defined(__AVX512F__)
  } else if constexpr (__is_same(Format, Iq4Nl)) {
    low_then_high(b + 2, kIq4, v);
  } else if constexpr (__is_same(Format, Iq4Xs)) {
    low_then_high(b + 8 + 16 * g, kIq4, v);
#endif
  } else if constexpr (__is_same(Format, Q4_K)) {
    for (int u = 0; u < kGroupVecs; ++u) {
      const auto bytes = widened(b + 16 + 32 * (g / 2) + u * kLanes);
      v[u] = g % 2 ? nibble_floats<true>(bytes, kPlain) : nibble_floats<false>(bytes, kPlain);
    }
  } else if constexpr (__is_same(Format, Q8_0)) {
    for (int u = 0; u < kGroupVecs; ++u) v[u] = signed_floats(b + 2 + u * kLanes);
  } else {
    floats_of(Format::codes(b, g), v);
  }
}

}  // namespace
}  // namespace headlight::kernels
