// Integer dot products: 8-bit weights' codes times 8-bit x, exact in 32 bits, scaled per block.

#pragma once

#include "kernels/linear_blocks.inl"
#include "kernels/linear_tiers.h"

namespace headlight::kernels {
namespace {

/// Eight partial sums of 32 products; lanes 0-3 belong to the first 16 values.
template <bool kUnsignedCodes>
inline __m256i products_q8(__m256i codes, __m256i xq) {
  // The instructions want unsigned times signed: |code| * (x with the sign of code). |-128| = 128 still fits, and two
  // products of at most 128 * 127 stay below 2^15.
  const __m256i a = kUnsignedCodes ? codes : _mm256_abs_epi8(codes);
  const __m256i b = kUnsignedCodes ? xq : _mm256_sign_epi8(xq, codes);
#if defined(__AVX512VNNI__)
  return _mm256_dpbusd_epi32(_mm256_setzero_si256(), a, b);
#else
  return _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1));
#endif
}

template <class Format>
inline __m256i span_codes(Block span, int g) {
  return Format::kGroupsPerBlock == 1 ? Format::codes(span + g * Format::kBlockBytes, 0) : Format::codes(span, g);
}

/// acc + the products of group g with one row of x, per lane.
template <class Format>
inline __m256 group_products_q8(__m256i codes, __m256 scale, const std::int8_t* xq, float x_scale, __m256 acc) {
  const __m256 sums = _mm256_cvtepi32_ps(products_q8<Format::kMinimum>(codes, load32(reinterpret_cast<Block>(xq))));
  return _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), sums, acc);
}

template <class Format, int kRows>
void dot_q8_rows(DotQ8Args args) {  // a copy: stores to y cannot change it
  const std::int64_t num_groups = args.cols / 32;
  for (std::int64_t r = 0; r < args.rows; ++r) {
    __m256 acc[kRows], minimum[kRows];
    for (int i = 0; i < kRows; ++i) acc[i] = minimum[i] = _mm256_setzero_ps();
    each_span<Format>(args.w + r * args.row_bytes, args.cols, [&](std::int64_t k, int groups, Block span) {
      prefetch_ahead<Format>(span);
      const typename Format::Header header(span, groups);
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) {
        const __m256i codes = span_codes<Format>(span, g);
        __m256 scale = _mm256_set1_ps(header.scale[Format::kHalves ? 2 * g : g]);
        if constexpr (Format::kHalves) scale = _mm256_insertf128_ps(scale, _mm_set1_ps(header.scale[2 * g + 1]), 1);
        for (int i = 0; i < kRows; ++i)
          acc[i] = group_products_q8<Format>(codes, scale, args.xq + i * args.cols + k + 32 * g,
                                             args.scales[i * num_groups + k / 32 + g], acc[i]);
      }
      if constexpr (Format::kMinimum)
        for (int i = 0; i < kRows; ++i)
          minimum[i] = minimum_products(header.minimum, args.sums + i * num_groups + k / 32, groups, minimum[i]);
    });
    for (int i = 0; i < kRows; ++i) {
      const float total = Format::kMinimum ? sum_8(acc[i]) + sum_8(minimum[i]) : sum_8(acc[i]);
      args.y[i * args.y_stride + r] = args.bias ? total + args.bias[r] : total;
    }
  }
}

template <class Format>
void dot_q8(const DotQ8Args& args) {
  switch (args.n) {
    case 1:
      return dot_q8_rows<Format, 1>(args);
    case 2:
      return dot_q8_rows<Format, 2>(args);
    case 3:
      return dot_q8_rows<Format, 3>(args);
    default:
      return dot_q8_rows<Format, 4>(args);
  }
}

}  // namespace
}  // namespace headlight::kernels
