#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/linear.h"
#include "kernels/linear_tiers.h"
#include "tests/kernels/linear_random.h"

namespace headlight::kernels {
namespace {

using namespace testing;

struct Q8Case {
  TensorType type;
  CpuTier tier;
};

std::vector<Q8Case> q8_cases() {
  std::vector<Q8Case> cases;
  for (const auto tier : available_cpu_tiers())
    for (const auto type : {TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1, TensorType::q8_0,
                            TensorType::iq4_nl, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k})
      cases.push_back({type, tier});
  return cases;
}

std::string q8_name(const ::testing::TestParamInfo<Q8Case>& param) {
  return std::string(info(param.param.type).name) + "_" + std::string(to_string(param.param.tier));
}

/// x as linear_q8() sees it: 32 values share max|x| / 127, codes rounded to nearest.
std::vector<double> rounded_to_8_bits(const std::vector<float>& x) {
  std::vector<double> rounded(x.size());
  for (std::size_t b = 0; b < x.size(); b += 32) {
    float largest = 0.0f;
    for (std::size_t k = b; k < b + 32; ++k) largest = std::max(largest, std::fabs(x[k]));
    const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    for (std::size_t k = b; k < b + 32; ++k) rounded[k] = std::nearbyint(x[k] * inverse) * double{largest / 127.0f};
  }
  return rounded;
}

class LinearQ8 : public ::testing::TestWithParam<Q8Case> {
 protected:
  void compare(std::int64_t rows, std::int64_t cols, std::int64_t n, bool with_bias) {
    SCOPED_TRACE(::testing::Message() << "rows " << rows << " cols " << cols << " n " << n);
    auto bytes = random_matrix(GetParam().type, rows, cols, random_);
    const MatrixView w{GetParam().type, rows, cols, bytes.data()};
    const auto values = dequantize_reference(w);
    auto x = random_values(static_cast<std::size_t>(n * cols), random_);
    for (std::size_t k = 0; k < 32; ++k) x[k] = 0.0f;  // a block without a scale
    const auto rounded = rounded_to_8_bits(x);
    const auto bias = random_values(static_cast<std::size_t>(rows), random_);
    const std::int64_t y_stride = rows + 3;
    std::vector<float> y(static_cast<std::size_t>(n * y_stride));
    linear_q8(pool_, workspace_, w, x.data(), n, cols, y.data(), y_stride, with_bias ? bias.data() : nullptr);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        double dot = with_bias ? bias[static_cast<std::size_t>(r)] : 0.0, size = std::fabs(dot);
        for (std::int64_t k = 0; k < cols; ++k) {
          const double term =
              rounded[static_cast<std::size_t>(i * cols + k)] * values[static_cast<std::size_t>(r * cols + k)];
          dot += term;
          size += std::fabs(term);
        }
        ASSERT_NEAR(y[static_cast<std::size_t>(i * y_stride + r)], dot, 1e-5 * size) << "row " << r << " of x " << i;
      }
    }
  }

  ForcedTier tier_{GetParam().tier};
  std::mt19937 random_{424242};
  ThreadPool pool_{2};
  LinearWorkspace workspace_;
};

TEST_P(LinearQ8, MatchesTheSameArithmeticInDouble) {
  for (const std::int64_t n : {1, 2, 3, 4, 5, 31}) compare(65, 768, n, n % 2 == 1);
  compare(3, 256, 257, true);
  compare(600, 512, 1, false);
  if (info(GetParam().type).block_size == 32) compare(5, 96, 2, true);
}

// Q8_0 stores -128, whose absolute value does not fit 8 signed bits; and the largest codes of every type.
TEST_P(LinearQ8, ExtremeCodesDoNotSaturate) {
  for (const int fill : {0x80, 0x7f, 0xff, 0x00}) {
    const std::int64_t rows = 4, cols = 256;
    auto bytes = random_matrix(GetParam().type, rows, cols, random_);
    const auto& facts = info(GetParam().type);
    const HalfFields fields = half_fields(GetParam().type);
    for (std::size_t k = 0; k < bytes.size(); ++k) {
      const int in_block = static_cast<int>(k % facts.block_bytes);
      const bool scale = in_block == fields.scale || in_block == fields.scale + 1;
      const bool minimum = fields.minimum >= 0 && (in_block == fields.minimum || in_block == fields.minimum + 1);
      if (!scale && !minimum) bytes[k] = static_cast<std::byte>(fill);
    }
    const MatrixView w{GetParam().type, rows, cols, bytes.data()};
    const auto values = dequantize_reference(w);
    for (const float sign : {1.0f, -1.0f}) {
      const std::vector<float> x(static_cast<std::size_t>(cols), 2.0f * sign);
      std::vector<float> y(static_cast<std::size_t>(rows));
      linear_q8(pool_, workspace_, w, x.data(), 1, cols, y.data(), rows, nullptr);
      for (std::size_t r = 0; r < y.size(); ++r) {
        double dot = 0.0, size = 0.0;
        for (std::size_t k = 0; k < x.size(); ++k) {
          dot += double{x[k]} * values[r * x.size() + k];
          size += std::fabs(double{x[k]} * values[r * x.size() + k]);
        }
        ASSERT_NEAR(y[r], dot, 1e-5 * size) << "fill " << fill;
      }
    }
  }
}

TEST_P(LinearQ8, SameBitsForAnyThreadCount) {
  const std::int64_t rows = 520, cols = 768, n = 7;
  const auto bytes = random_matrix(GetParam().type, rows, cols, random_);
  const MatrixView w{GetParam().type, rows, cols, bytes.data()};
  const auto x = random_values(static_cast<std::size_t>(n * cols), random_);
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<float> y(static_cast<std::size_t>(n * rows));
    linear_q8(pool, workspace_, w, x.data(), n, cols, y.data(), rows, nullptr);
    if (first.empty()) first = y;
    EXPECT_EQ(0, std::memcmp(first.data(), y.data(), y.size() * sizeof(float))) << threads;
  }
}

TEST_P(LinearQ8, NanAndInfinityShow) {
  const std::int64_t rows = 9, cols = 512;
  const auto bytes = random_matrix(GetParam().type, rows, cols, random_);
  const MatrixView w{GetParam().type, rows, cols, bytes.data()};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto x = random_values(static_cast<std::size_t>(3 * cols), random_);
    x[static_cast<std::size_t>(cols + 300)] = bad;
    std::vector<float> y(static_cast<std::size_t>(3 * rows));
    linear_q8(pool_, workspace_, w, x.data(), 3, cols, y.data(), rows, nullptr);
    for (std::size_t k = 0; k < y.size(); ++k) ASSERT_EQ(std::isnan(y[k]), k / 9 == 1) << k;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LinearQ8, ::testing::ValuesIn(q8_cases()), q8_name);

TEST(QuantizeQ8, TiersAgreeBitForBit) {
  if (detected_cpu_tier() == CpuTier::scalar) GTEST_SKIP() << "needs AVX2";
#if defined(__x86_64__)
  std::mt19937 random(9);
  auto x = random_values(32 * 64, random);
  for (std::size_t k = 0; k < 32; ++k) {
    x[32 + k] = 0.0f;
    x[64 + k] *= 1e-38f;
    x[96 + k] *= 1e36f;
    x[128 + k] = k == 7 ? 127.0f : static_cast<float>(k) + 0.5f;  // ties
  }
  x[170] = std::numeric_limits<float>::quiet_NaN();
  x[200] = -std::numeric_limits<float>::infinity();
  const auto count = static_cast<std::int64_t>(x.size());
  std::vector<std::int8_t> a(x.size()), b(x.size());
  std::vector<float> scales_a(64), scales_b(64), sums_a(64), sums_b(64);
  quantize_q8_scalar(x.data(), count, a.data(), scales_a.data(), sums_a.data());
  quantize_q8_avx2(x.data(), count, b.data(), scales_b.data(), sums_b.data());
  EXPECT_EQ(a, b);
  for (std::size_t k = 0; k < 64; ++k) {
    EXPECT_EQ(std::isnan(scales_a[k]), k == 5 || k == 6);
    if (std::isnan(scales_a[k])) {
      EXPECT_TRUE(std::isnan(scales_b[k]) && std::isnan(sums_a[k]) && std::isnan(sums_b[k]));
    } else {
      EXPECT_EQ(scales_a[k], scales_b[k]);
      EXPECT_EQ(sums_a[k], sums_b[k]);
    }
  }
#endif
}

TEST(LinearQ8Fallback, OtherTypesEqualLinear) {
  std::mt19937 random(5);
  ThreadPool pool(2);
  LinearWorkspace workspace;
  for (const auto type : {TensorType::f32, TensorType::f16, TensorType::bf16, TensorType::q2_k, TensorType::q3_k}) {
    const auto bytes = random_matrix(type, 10, 256, random);
    const auto x = random_values(2 * 256, random);
    std::vector<float> a(20), b(20);
    linear(pool, workspace, {type, 10, 256, bytes.data()}, x.data(), 2, 256, a.data(), 10, nullptr);
    linear_q8(pool, workspace, {type, 10, 256, bytes.data()}, x.data(), 2, 256, b.data(), 10, nullptr);
    EXPECT_EQ(a, b);
  }
}

}  // namespace
}  // namespace headlight::kernels
