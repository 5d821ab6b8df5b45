#include "kernels/linear_kernels.inl"

namespace headlight::kernels {
namespace {

float largest_lane(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

int sum_of_codes(__m256i codes) {
  // As unsigned bytes their sum of absolute differences to 0 needs an offset of 128 each.
  const __m256i shifted = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80)));
  const __m256i sums = _mm256_sad_epu8(shifted, _mm256_setzero_si256());
  const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return _mm_cvtsi128_si32(_mm_add_epi64(pair, _mm_unpackhi_epi64(pair, pair))) - 32 * 128;
}

/// 32 values times `factor`, rounded to nearest even, as bytes in order.
__m256i rounded_codes(const __m256 (&v)[4], float factor) {
  __m256i q[4];
  for (int u = 0; u < 4; ++u) q[u] = _mm256_cvtps_epi32(_mm256_mul_ps(v[u], _mm256_set1_ps(factor)));
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));  // packing works per half
}

}  // namespace

void quantize_q8_avx2(const float* x, std::int64_t count, std::int8_t* xq, float* scales, float* sums) {
  for (std::int64_t b = 0; b < count / kActivationBlock; ++b, x += kActivationBlock, xq += kActivationBlock) {
    __m256 v[4], largest = _mm256_setzero_ps(), poison = _mm256_setzero_ps();
    for (int u = 0; u < 4; ++u) {
      v[u] = _mm256_loadu_ps(x + 8 * u);
      largest = _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), v[u]), largest);  // in this order NaN loses
      poison = _mm256_add_ps(poison, _mm256_mul_ps(v[u], _mm256_setzero_ps()));
    }
    const float most = largest_lane(largest), poisoned = sum_8(poison);
    const bool usable = most >= kSmallestQ8 && poisoned == 0.0f;
    const __m256i codes = usable ? rounded_codes(v, 127.0f / most) : _mm256_setzero_si256();
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(xq), codes);
    scales[b] = (usable ? most / 127.0f : 0.0f) + poisoned;
    sums[b] = scales[b] * static_cast<float>(sum_of_codes(codes));
  }
}

TypeKernels type_kernels_avx2(TensorType type) {
  return kernels_of(type);
}

}  // namespace headlight::kernels
