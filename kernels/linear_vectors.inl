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

/// values[nibble] of 16 bytes; the instruction looks at the low four bits of each index alone.
inline Vec look_up(__m512i indices, const float* values) {
  return _mm512_permutexvar_ps(indices, _mm512_loadu_ps(values));
}
inline __m512i byte_indices(Block p) {
  return _mm512_cvtepu8_epi32(load16(p));
}

constexpr float kPlain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr float kCentred[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
constexpr float kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// Nibbles straight to floats by a table in a register: half the instructions of widening bytes.
inline void nibble_floats(Block qs, const float* table, Vec (&v)[2]) {
  const __m512i bytes = byte_indices(qs);
  v[0] = look_up(bytes, table);
  v[1] = look_up(_mm512_srli_epi32(bytes, 4), table);
}

#endif

/// The codes of group g as floats.
template <class Format>
inline void group_floats(Block b, int g, Vec (&v)[kGroupVecs]) {
#if defined(__AVX512F__)
  if constexpr (__is_same(Format, Q4_0)) return nibble_floats(b + 2, kCentred, v);
  if constexpr (__is_same(Format, Q4_1)) return nibble_floats(b + 4, kPlain, v);
  if constexpr (__is_same(Format, Iq4Nl)) return nibble_floats(b + 2, kIq4, v);
  if constexpr (__is_same(Format, Iq4Xs)) return nibble_floats(b + 8 + 16 * g, kIq4, v);
  if constexpr (__is_same(Format, Q4_K)) {
    for (int part = 0; part < 2; ++part) {
      const __m512i bytes = byte_indices(b + 16 + 32 * (g / 2) + 16 * part);
      v[part] = look_up(g % 2 ? _mm512_srli_epi32(bytes, 4) : bytes, kPlain);
    }
    return;
  }
#endif
  floats_of(Format::codes(b, g), v);
}

}  // namespace
}  // namespace headlight::kernels
