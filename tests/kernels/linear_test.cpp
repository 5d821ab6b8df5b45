#include "kernels/linear.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/linear_random.h"

namespace headlight::kernels {
namespace {

using namespace testing;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::int64_t smallest_cols(TensorType type) {
  return info(type).block_size == 1 ? 1 : info(type).block_size;
}

struct Case {
  TensorType type;
  CpuTier tier;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto tier : available_cpu_tiers())
    for (const auto type : kAllTypes) cases.push_back({type, tier});
  return cases;
}

std::string name_of(const ::testing::TestParamInfo<Case>& param) {
  return std::string(info(param.param.type).name) + "_" + std::string(to_string(param.param.tier));
}

class Linear : public ::testing::TestWithParam<Case> {
 protected:
  TensorType type() const { return GetParam().type; }

  /// Runs linear() and compares every output with the dot product in f64 of the reference's row.
  void compare(std::int64_t rows, std::int64_t cols, std::int64_t n, bool with_bias, std::int64_t padding) {
    SCOPED_TRACE(::testing::Message() << "rows " << rows << " cols " << cols << " n " << n);
    const auto bytes = random_matrix(type(), rows, cols, random_);
    const MatrixView w{type(), rows, cols, bytes.data()};
    const auto values = dequantize_reference(w);
    const std::int64_t x_stride = cols + padding, y_stride = rows + padding;
    const auto x = random_values(static_cast<std::size_t>(n * x_stride), random_);
    const auto bias = random_values(static_cast<std::size_t>(rows), random_);
    std::vector<float> y(static_cast<std::size_t>(n * y_stride), kNan);
    linear(pool_, workspace_, w, x.data(), n, x_stride, y.data(), y_stride, with_bias ? bias.data() : nullptr);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        double dot = with_bias ? bias[static_cast<std::size_t>(r)] : 0.0, size = std::fabs(dot);
        for (std::int64_t k = 0; k < cols; ++k) {
          const double term =
              double{x[static_cast<std::size_t>(i * x_stride + k)]} * values[static_cast<std::size_t>(r * cols + k)];
          dot += term;
          size += std::fabs(term);
        }
        ASSERT_NEAR(y[static_cast<std::size_t>(i * y_stride + r)], dot, 1e-5 * size) << "row " << r << " of x " << i;
      }
      for (std::int64_t r = rows; r < y_stride; ++r)
        ASSERT_TRUE(std::isnan(y[static_cast<std::size_t>(i * y_stride + r)])) << "wrote past the row";
    }
  }

  ForcedTier tier_{GetParam().tier};
  std::mt19937 random_{20240607};
  ThreadPool pool_{2};
  LinearWorkspace workspace_;
};

TEST_P(Linear, DequantizesBitForBit) {
  for (const std::int64_t blocks : {1, 3, 7, 16}) {
    const std::int64_t rows = 3, cols = smallest_cols(type()) * blocks;
    auto bytes = random_matrix(type(), rows, cols, random_);
    const MatrixView w{type(), rows, cols, bytes.data()};
    std::vector<float> out(static_cast<std::size_t>(rows * cols));
    dequantize_rows(w, 0, rows, out.data());
    EXPECT_TRUE(same_bits(out, dequantize_reference(w)));
    dequantize_rows(w, 2, 1, out.data());
    const auto all = dequantize_reference(w);
    EXPECT_EQ(0, std::memcmp(out.data(), all.data() + 2 * cols, static_cast<std::size_t>(cols) * sizeof(float)));
  }
}

// Arbitrary bytes: scales that are NaN, infinite, subnormal or negative.
TEST_P(Linear, DequantizesArbitraryBytes) {
  const std::int64_t rows = 64, cols = 512;
  auto bytes = random_matrix(type(), rows, cols, random_);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random_());
  const MatrixView w{type(), rows, cols, bytes.data()};
  std::vector<float> out(static_cast<std::size_t>(rows * cols));
  dequantize_rows(w, 0, rows, out.data());
  const auto expected = dequantize_reference(w);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (std::isnan(expected[i]))
      ASSERT_TRUE(std::isnan(out[i])) << i;
    else
      ASSERT_EQ(0, std::memcmp(&out[i], &expected[i], sizeof(float))) << i << ": " << out[i] << " " << expected[i];
  }
}

TEST_P(Linear, MatchesDoublePrecision) {
  const std::int64_t unit = smallest_cols(type());
  for (const std::int64_t n : {1, 2, 3, 4, 5, 8, 9, 31, 64}) compare(67, unit == 1 ? 75 : 3 * unit, n, n % 2 == 0, 0);
  compare(33, 512, 257, true, 5);
  compare(1, unit, 1, false, 0);
  compare(1, unit, 13, true, 3);
  compare(200, unit == 1 ? 1000 : 4 * unit, 1, true, 0);
  compare(2, 4096, 1, false, 0);
}

TEST_P(Linear, SameBitsForAnyThreadCountAndAnyNeighbourRow) {
  const std::int64_t rows = 520, cols = 768;
  const auto bytes = random_matrix(type(), rows, cols, random_);
  const MatrixView w{type(), rows, cols, bytes.data()};
  for (const std::int64_t n : {1, 3, 7, 40}) {
    const auto x = random_values(static_cast<std::size_t>(n * cols), random_);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 5}) {
      ThreadPool pool(threads);
      LinearWorkspace workspace;
      std::vector<float> y(static_cast<std::size_t>(n * rows));
      linear(pool, workspace, w, x.data(), n, cols, y.data(), rows, nullptr);
      if (first.empty()) first = y;
      EXPECT_TRUE(same_bits(first, y)) << threads << " threads, n " << n;
    }
    if (n >= 9) continue;
    // Decode: a row alone gives the bits that it gives among others.
    std::vector<float> alone(static_cast<std::size_t>(rows));
    linear(pool_, workspace_, w, x.data() + (n - 1) * cols, 1, cols, alone.data(), rows, nullptr);
    EXPECT_TRUE(same_bits(alone, {first.end() - rows, first.end()}));
  }
}

TEST_P(Linear, NanReachesExactlyItsRow) {
  const std::int64_t rows = 40, cols = 256;
  const auto bytes = random_matrix(type(), rows, cols, random_);
  const MatrixView w{type(), rows, cols, bytes.data()};
  for (const std::int64_t n : {2, 20}) {
    auto x = random_values(static_cast<std::size_t>(n * cols), random_);
    x[static_cast<std::size_t>(cols + 77)] = kNan;
    std::vector<float> y(static_cast<std::size_t>(n * rows));
    linear(pool_, workspace_, w, x.data(), n, cols, y.data(), rows, nullptr);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t r = 0; r < rows; ++r)
        ASSERT_EQ(i == 1, std::isnan(y[static_cast<std::size_t>(i * rows + r)])) << i << " " << r;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Linear, ::testing::ValuesIn(all_cases()), name_of);

TEST(LinearEmpty, NoRowsDoNothing) {
  ThreadPool pool(1);
  LinearWorkspace workspace;
  linear(pool, workspace, {TensorType::f32, 4, 4, nullptr}, nullptr, 0, 4, nullptr, 4, nullptr);
  linear(pool, workspace, {TensorType::q4_0, 0, 32, nullptr}, nullptr, 3, 32, nullptr, 0, nullptr);
}

// Rows of a safetensors file may start anywhere.
TEST(LinearUnaligned, F32RowsAtOddAddresses) {
  std::mt19937 random(3);
  const auto values = random_values(20 * 24, random), x = random_values(16 * 24, random);
  std::vector<std::byte> shifted(values.size() * 4 + 1);
  std::memcpy(shifted.data() + 1, values.data(), values.size() * 4);
  ThreadPool pool(1);
  LinearWorkspace workspace;
  for (const std::int64_t n : {1, 16}) {
    std::vector<float> a(static_cast<std::size_t>(n * 20)), b = a;
    const auto* aligned = reinterpret_cast<const std::byte*>(values.data());
    linear(pool, workspace, {TensorType::f32, 20, 24, aligned}, x.data(), n, 24, a.data(), 20, nullptr);
    linear(pool, workspace, {TensorType::f32, 20, 24, shifted.data() + 1}, x.data(), n, 24, b.data(), 20, nullptr);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_FLOAT_EQ(a[i], b[i]);
  }
}

}  // namespace
}  // namespace headlight::kernels
