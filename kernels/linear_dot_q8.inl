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

inline float sum_8(__m256 v) {
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

template <class Format, int kRows>
void dot_q8_rows(const DotQ8Args& args) {
  constexpr int kGroups = Format::kBlockSize / 32;
  const std::int64_t num_groups = args.cols / 32;
  for (std::int64_t r = 0; r < args.rows; ++r) {
    Block b = args.w + r * args.row_bytes;
    __m256 acc[kRows];
    float minimum[kRows] = {};
    for (int i = 0; i < kRows; ++i) acc[i] = _mm256_setzero_ps();
    for (std::int64_t group = 0; group < num_groups; group += kGroups, b += Format::kBlockBytes) {
      const typename Format::Header header(b);
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) {
        const __m256i codes = Format::codes(b, g);
        __m256 scale = _mm256_set1_ps(header.scale[Format::kHalves ? 2 * g : g]);
        if constexpr (Format::kHalves) scale = _mm256_insertf128_ps(scale, _mm_set1_ps(header.scale[2 * g + 1]), 1);
        for (int i = 0; i < kRows; ++i) {
          const auto* xq = reinterpret_cast<Block>(args.xq) + i * args.cols + 32 * (group + g);
          const __m256 sums = _mm256_cvtepi32_ps(products_q8<Format::kMinimum>(codes, load32(xq)));
          const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(args.scales[i * num_groups + group + g]));
          acc[i] = _mm256_fmadd_ps(both, sums, acc[i]);
          if constexpr (Format::kMinimum)
            minimum[i] = __builtin_fmaf(header.minimum[g], args.sums[i * num_groups + group + g], minimum[i]);
        }
      }
    }
    for (int i = 0; i < kRows; ++i) {
      const float total = Format::kMinimum ? sum_8(acc[i]) + minimum[i] : sum_8(acc[i]);
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
