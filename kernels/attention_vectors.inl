// Vectors of 16 floats for the unit that includes this, made of 1, 2 or 4 registers. Reductions over lanes have one
// order on every tier. Everything lives in an anonymous namespace: no unit may share code with another.

#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define HEADLIGHT_INLINE [[gnu::always_inline]] inline

namespace headlight::kernels {
namespace {

constexpr std::int32_t kRootHalfBits = 0x3f3504f3;  // sqrt(1/2)

// ---- one register -------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)

constexpr int kParts = 1, kPartLanes = 16;
using Part = __m512;

HEADLIGHT_INLINE Part part_load(const float* p) {
  return _mm512_loadu_ps(p);
}
HEADLIGHT_INLINE void part_store(float* p, Part x) {
  _mm512_storeu_ps(p, x);
}
HEADLIGHT_INLINE Part part_splat(float x) {
  return _mm512_set1_ps(x);
}
HEADLIGHT_INLINE Part part_from_bf16(const std::uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
HEADLIGHT_INLINE Part part_fma(Part a, Part b, Part c) {
  return _mm512_fmadd_ps(a, b, c);
}
HEADLIGHT_INLINE Part part_max(Part a, Part b) {
  return _mm512_max_ps(a, b);
}
HEADLIGHT_INLINE Part part_min(Part a, Part b) {
  return _mm512_min_ps(a, b);
}
HEADLIGHT_INLINE Part part_if_less(Part a, Part b, Part yes, Part no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
HEADLIGHT_INLINE Part part_max_where_equal(Part a, Part b, Part x, Part y) {
  return _mm512_mask_max_ps(x, _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), x, y);
}
HEADLIGHT_INLINE unsigned part_equal(Part a, Part b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
HEADLIGHT_INLINE Part part_scale(Part x, Part exponent, Part /*shifted*/) {
  return _mm512_scalef_ps(x, exponent);
}
HEADLIGHT_INLINE Part part_sign_of(Part x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_MIN)));
}
HEADLIGHT_INLINE Part part_xor(Part a, Part b) {
  return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
// x = mantissa * 2^exponent with a mantissa in [sqrt(1/2), sqrt(2)), for normal positive x.
HEADLIGHT_INLINE void part_split(Part x, Part& mantissa, Part& exponent) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i power = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(kRootHalfBits)), 23);
  mantissa = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(power, 23)));
  exponent = _mm512_cvtepi32_ps(power);
}
HEADLIGHT_INLINE void part_store_some(float* p, Part x, std::int64_t count) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1u), x);
}
// Even and odd elements of the 32 in a, b.
HEADLIGHT_INLINE void part_deinterleave(Part a, Part b, Part& even, Part& odd) {
  const __m512i index = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  even = _mm512_permutex2var_ps(a, index, b);
  odd = _mm512_permutex2var_ps(a, _mm512_or_si512(index, _mm512_set1_epi32(1)), b);
}

#elif defined(__AVX2__)

constexpr int kParts = 2, kPartLanes = 8;
using Part = __m256;

HEADLIGHT_INLINE Part part_load(const float* p) {
  return _mm256_loadu_ps(p);
}
HEADLIGHT_INLINE void part_store(float* p, Part x) {
  _mm256_storeu_ps(p, x);
}
HEADLIGHT_INLINE Part part_splat(float x) {
  return _mm256_set1_ps(x);
}
HEADLIGHT_INLINE Part part_from_bf16(const std::uint16_t* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
HEADLIGHT_INLINE Part part_fma(Part a, Part b, Part c) {
  return _mm256_fmadd_ps(a, b, c);
}
HEADLIGHT_INLINE Part part_max(Part a, Part b) {
  return _mm256_max_ps(a, b);
}
HEADLIGHT_INLINE Part part_min(Part a, Part b) {
  return _mm256_min_ps(a, b);
}
HEADLIGHT_INLINE Part part_if_less(Part a, Part b, Part yes, Part no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
HEADLIGHT_INLINE Part part_max_where_equal(Part a, Part b, Part x, Part y) {
  return _mm256_blendv_ps(x, _mm256_max_ps(x, y), _mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}
HEADLIGHT_INLINE unsigned part_equal(Part a, Part b) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
}
HEADLIGHT_INLINE Part part_scale(Part x, Part /*exponent*/, Part shifted) {
  shifted = _mm256_max_ps(shifted, _mm256_setzero_ps());  // NaN: adds nothing to the NaN in x
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}
HEADLIGHT_INLINE Part part_sign_of(Part x) {
  return _mm256_and_ps(x, _mm256_set1_ps(-0.0f));
}
HEADLIGHT_INLINE Part part_xor(Part a, Part b) {
  return _mm256_xor_ps(a, b);
}
HEADLIGHT_INLINE void part_split(Part x, Part& mantissa, Part& exponent) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i power = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(kRootHalfBits)), 23);
  mantissa = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(power, 23)));
  exponent = _mm256_cvtepi32_ps(power);
}
HEADLIGHT_INLINE void part_store_some(float* p, Part x, std::int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane), x);
}
HEADLIGHT_INLINE void part_deinterleave(Part a, Part b, Part& even, Part& odd) {
  const Part e = _mm256_shuffle_ps(a, b, 0x88), o = _mm256_shuffle_ps(a, b, 0xdd);
  even = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), 0xd8));
  odd = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), 0xd8));
}

#else

constexpr int kParts = 4, kPartLanes = 4;
using Part = float __attribute__((vector_size(16)));
using PartBits = std::uint32_t __attribute__((vector_size(16)));

HEADLIGHT_INLINE Part part_load(const float* p) {
  Part x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
HEADLIGHT_INLINE void part_store(float* p, Part x) {
  __builtin_memcpy(p, &x, sizeof x);
}
HEADLIGHT_INLINE Part part_splat(float x) {
  return Part{x, x, x, x};
}
HEADLIGHT_INLINE Part part_from_bf16(const std::uint16_t* p) {
  return (Part)(PartBits{p[0], p[1], p[2], p[3]} << 16);
}
HEADLIGHT_INLINE Part part_fma(Part a, Part b, Part c) {
  return a * b + c;
}
HEADLIGHT_INLINE Part part_max(Part a, Part b) {
  return a > b ? a : b;
}
HEADLIGHT_INLINE Part part_min(Part a, Part b) {
  return a < b ? a : b;
}
HEADLIGHT_INLINE Part part_if_less(Part a, Part b, Part yes, Part no) {
  return a < b ? yes : no;
}
HEADLIGHT_INLINE Part part_max_where_equal(Part a, Part b, Part x, Part y) {
  return a == b ? part_max(x, y) : x;
}
HEADLIGHT_INLINE unsigned part_equal(Part a, Part b) {
  const auto same = a == b;
  return static_cast<unsigned>((same[0] & 1) | (same[1] & 2) | (same[2] & 4) | (same[3] & 8));
}
HEADLIGHT_INLINE Part part_scale(Part x, Part /*exponent*/, Part shifted) {
  shifted = part_max(shifted, Part{});  // NaN: adds nothing to the NaN in x
  return (Part)((PartBits)x + ((PartBits)shifted << 23));
}
HEADLIGHT_INLINE Part part_sign_of(Part x) {
  return (Part)((PartBits)x & PartBits{0x80000000u, 0x80000000u, 0x80000000u, 0x80000000u});
}
HEADLIGHT_INLINE Part part_xor(Part a, Part b) {
  return (Part)((PartBits)a ^ (PartBits)b);
}
HEADLIGHT_INLINE void part_split(Part x, Part& mantissa, Part& exponent) {
  for (int l = 0; l < kPartLanes; ++l) {
    std::uint32_t bits;
    const float value = x[l];
    __builtin_memcpy(&bits, &value, sizeof bits);
    // Without a sign, because lanes behind the last row may hold anything.
    const std::int32_t power = static_cast<std::int32_t>(bits - std::uint32_t{kRootHalfBits}) >> 23;
    mantissa[l] = __builtin_ldexpf(value, -power);
    exponent[l] = static_cast<float>(power);
  }
}
HEADLIGHT_INLINE void part_store_some(float* p, Part x, std::int64_t count) {
  for (std::int64_t l = 0; l < count; ++l) p[l] = x[l];
}
HEADLIGHT_INLINE void part_deinterleave(Part a, Part b, Part& even, Part& odd) {
  even = Part{a[0], a[2], b[0], b[2]};
  odd = Part{a[1], a[3], b[1], b[3]};
}

#endif

// ---- sixteen lanes ------------------------------------------------------------------------------------------------

constexpr int kLanes = 16;

struct F16 {
  Part part[kParts];
};

template <class Op>
HEADLIGHT_INLINE F16 each_part(Op op) {
  F16 y;
#pragma GCC unroll 4
  for (int k = 0; k < kParts; ++k) y.part[k] = op(k);
  return y;
}

HEADLIGHT_INLINE F16 load(const float* p) {
  return each_part([=](int k) { return part_load(p + k * kPartLanes); });
}
HEADLIGHT_INLINE F16 load(const std::uint16_t* p) {
  return each_part([=](int k) { return part_from_bf16(p + k * kPartLanes); });
}
HEADLIGHT_INLINE void store(float* p, const F16& x) {
#pragma GCC unroll 4
  for (int k = 0; k < kParts; ++k) part_store(p + k * kPartLanes, x.part[k]);
}
HEADLIGHT_INLINE F16 splat(float x) {
  return each_part([=](int) { return part_splat(x); });
}
HEADLIGHT_INLINE F16 add(const F16& a, const F16& b) {
  return each_part([&](int k) { return a.part[k] + b.part[k]; });
}
HEADLIGHT_INLINE F16 subtract(const F16& a, const F16& b) {
  return each_part([&](int k) { return a.part[k] - b.part[k]; });
}
HEADLIGHT_INLINE F16 multiply(const F16& a, const F16& b) {
  return each_part([&](int k) { return a.part[k] * b.part[k]; });
}
HEADLIGHT_INLINE F16 divide(const F16& a, const F16& b) {
  return each_part([&](int k) { return a.part[k] / b.part[k]; });
}
HEADLIGHT_INLINE F16 multiply_add(const F16& a, const F16& b, const F16& c) {
  return each_part([&](int k) { return part_fma(a.part[k], b.part[k], c.part[k]); });
}
/// a > b ? a : b, so b where either is NaN.
HEADLIGHT_INLINE F16 max_of(const F16& a, const F16& b) {
  return each_part([&](int k) { return part_max(a.part[k], b.part[k]); });
}
HEADLIGHT_INLINE F16 min_of(const F16& a, const F16& b) {
  return each_part([&](int k) { return part_min(a.part[k], b.part[k]); });
}
HEADLIGHT_INLINE F16 if_less(const F16& a, const F16& b, const F16& yes, const F16& no) {
  return each_part([&](int k) { return part_if_less(a.part[k], b.part[k], yes.part[k], no.part[k]); });
}
/// a == b ? max(x, y) : x
HEADLIGHT_INLINE F16 max_where_equal(const F16& a, const F16& b, const F16& x, const F16& y) {
  return each_part([&](int k) { return part_max_where_equal(a.part[k], b.part[k], x.part[k], y.part[k]); });
}
/// Bit l is set where lane l of a and b is equal.
HEADLIGHT_INLINE unsigned equal_lanes(const F16& a, const F16& b) {
  unsigned lanes = 0;
#pragma GCC unroll 4
  for (int k = 0; k < kParts; ++k) lanes |= part_equal(a.part[k], b.part[k]) << (k * kPartLanes);
  return lanes;
}
HEADLIGHT_INLINE F16 sign_of(const F16& x) {
  return each_part([&](int k) { return part_sign_of(x.part[k]); });
}
HEADLIGHT_INLINE F16 flip_signs(const F16& x, const F16& signs) {
  return each_part([&](int k) { return part_xor(x.part[k], signs.part[k]); });
}
/// x * 2^exponent, where `shifted` has the exponent in its low bits.
HEADLIGHT_INLINE F16 scale(const F16& x, const F16& exponent, const F16& shifted) {
  return each_part([&](int k) { return part_scale(x.part[k], exponent.part[k], shifted.part[k]); });
}

alignas(64) constexpr float kLaneNumber[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/// x in lanes [from, to), other elsewhere.
HEADLIGHT_INLINE F16 select_lanes(const F16& x, std::int64_t from, std::int64_t to, const F16& other) {
  const F16 lane = load(kLaneNumber);
  const F16 low = if_less(lane, splat(static_cast<float>(from)), other, x);
  return if_less(lane, splat(static_cast<float>(to)), low, other);
}

/// Elements 0, 2, ..., 30 and 1, 3, ..., 31 of the 32 in x, y.
HEADLIGHT_INLINE void deinterleave(const F16& x, const F16& y, F16& even, F16& odd) {
  const auto source = [&](int n) { return n < kParts ? x.part[n] : y.part[n - kParts]; };
#pragma GCC unroll 4
  for (int k = 0; k < kParts; ++k) part_deinterleave(source(2 * k), source(2 * k + 1), even.part[k], odd.part[k]);
}

/// Sixteen vectors as the rows of a matrix, transposed. One deinterleaving of all 256 elements turns their index (row,
/// column) by one bit, four of them exchange row and column.
HEADLIGHT_INLINE void transpose(F16 (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int turn = 0; turn < 4; ++turn) {
    F16 turned[kLanes];
#pragma GCC unroll 8
    for (int k = 0; k < kLanes / 2; ++k) deinterleave(rows[2 * k], rows[2 * k + 1], turned[k], turned[k + kLanes / 2]);
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) rows[k] = turned[k];
  }
}

/// [x0 op x1, x2 op x3, ..., y14 op y15]
template <class Op>
HEADLIGHT_INLINE F16 combine_pairs(const F16& x, const F16& y, Op op) {
  F16 even, odd;
  deinterleave(x, y, even, odd);
  return each_part([&](int k) { return op(even.part[k], odd.part[k]); });
}

/// Lanes l and l + 8, then l and l + 4, l + 2, l + 1.
template <class Op>
HEADLIGHT_INLINE float reduce_lanes(const F16& x, Op op) {
  alignas(64) float lane[kLanes];
  store(lane, x);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) lane[l] = op(lane[l], lane[l + width]);
  return lane[0];
}

#if defined(__AVX2__)
HEADLIGHT_INLINE __m128 fold_to_four(const F16& x, __m256 (*op8)(__m256, __m256), __m128 (*op4)(__m128, __m128)) {
#if defined(__AVX512F__)
  const __m256 low = _mm512_castps512_ps256(x.part[0]), high = _mm512_extractf32x8_ps(x.part[0], 1);
#else
  const __m256 low = x.part[0], high = x.part[1];
#endif
  const __m256 eight = op8(low, high);
  return op4(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}
HEADLIGHT_INLINE float sum_lanes(const F16& x) {
  const __m128 four = fold_to_four(
      x, [](__m256 a, __m256 b) { return _mm256_add_ps(a, b); }, [](__m128 a, __m128 b) { return _mm_add_ps(a, b); });
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
HEADLIGHT_INLINE float max_lane(const F16& x) {
  const __m128 four = fold_to_four(
      x, [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); }, [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
#else
HEADLIGHT_INLINE float sum_lanes(const F16& x) {
  return reduce_lanes(x, [](float a, float b) { return a + b; });
}
HEADLIGHT_INLINE float max_lane(const F16& x) {
  return reduce_lanes(x, [](float a, float b) { return a > b ? a : b; });
}
#endif

/// The first `count` < 16 elements, 0 in the other lanes; reads no more than those.
template <class T>
HEADLIGHT_INLINE F16 load_some(const T* p, std::int64_t count) {
  T copy[kLanes] = {};
  for (std::int64_t l = 0; l < count; ++l) copy[l] = p[l];
  return load(copy);
}
HEADLIGHT_INLINE void store_some(float* p, const F16& x, std::int64_t count) {
#pragma GCC unroll 4
  for (int k = 0; k < kParts; ++k) {
    const std::int64_t left = count - k * kPartLanes;
    if (left >= kPartLanes)
      part_store(p + k * kPartLanes, x.part[k]);
    else if (left > 0)
      part_store_some(p + k * kPartLanes, x.part[k], left);
  }
}

// ---- functions ----------------------------------------------------------------------------------------------------

constexpr float kLowestExponent = -125.0f;  // below it 2^x counts as 0: no denormals on any tier
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

/// 2^x for -125 <= x <= 127, within 1 ulp. Minimax polynomial on [-1/2, 1/2], relative error 2.6e-9; 2^0 is exactly 1.
/// NaN stays NaN.
HEADLIGHT_INLINE F16 exp2_in_range(const F16& x) {
  const F16 rounder = splat(12582912.0f);  // 1.5 * 2^23: x + rounder has round(x) in its low bits
  const F16 shifted = add(x, rounder);
  const F16 whole = subtract(shifted, rounder);
  const F16 f = subtract(x, whole);
  F16 y = splat(1.559467782e-04f);
  y = multiply_add(y, f, splat(1.340664341e-03f));
  y = multiply_add(y, f, splat(9.617692791e-03f));
  y = multiply_add(y, f, splat(5.550310388e-02f));
  y = multiply_add(y, f, splat(2.402265221e-01f));
  y = multiply_add(y, f, splat(6.931472421e-01f));
  y = multiply_add(y, f, splat(1.0f));
  return scale(y, whole, shifted);
}

/// 2^x for x <= 0, exactly 0 up to -125. NaN stays NaN. `clamped` is max(x, -125): clamped * result is finite.
HEADLIGHT_INLINE F16 exp2_negative(const F16& x, F16& clamped) {
  const F16 lowest = splat(kLowestExponent), zero = splat(0.0f);
  clamped = max_of(lowest, x);
  const F16 y = exp2_in_range(clamped);
  return if_less(x, lowest, zero, y);
}

/// ln x of positive normal numbers, within 2 ulp (Cephes logf). NaN and infinity stay what they are.
HEADLIGHT_INLINE F16 log_of(const F16& x) {
  F16 m, e;
#pragma GCC unroll 4
  for (int k = 0; k < kParts; ++k) part_split(x.part[k], m.part[k], e.part[k]);
  m = subtract(m, splat(1.0f));
  const F16 square = multiply(m, m);
  F16 y = splat(7.0376836292e-2f);
  for (const float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                        2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
    y = multiply_add(y, m, splat(c));
  y = multiply_add(splat(-0.5f), square, multiply(multiply(y, m), square));
  y = multiply_add(e, splat(-2.12194440e-4f), y);
  return if_less(x, splat(__builtin_inff()), multiply_add(e, splat(0.693359375f), add(m, y)), x);
}

/// tanh(x) within 2 ulp: odd polynomial (Cephes tanhf) near 0, 1 - 2 / (e^2|x| + 1) elsewhere. NaN stays NaN.
HEADLIGHT_INLINE F16 tanh_of(const F16& x) {
  const F16 sign = sign_of(x), one = splat(1.0f);
  const F16 size = min_of(splat(10.0f), flip_signs(x, sign));
  const F16 square = multiply(size, size);
  F16 near = splat(-5.70498872745e-3f);
  near = multiply_add(near, square, splat(2.06390887954e-2f));
  near = multiply_add(near, square, splat(-5.37397155531e-2f));
  near = multiply_add(near, square, splat(1.33314422036e-1f));
  near = multiply_add(near, square, splat(-3.33332819422e-1f));
  near = multiply_add(multiply(near, square), size, size);
  const F16 e = exp2_in_range(multiply(size, splat(2.0f * kLog2E)));
  const F16 far = subtract(one, divide(splat(2.0f), add(e, one)));
  return flip_signs(if_less(size, splat(0.625f), near, far), sign);
}

}  // namespace
}  // namespace headlight::kernels
