#include "kernels/elementwise.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/linear_random.h"

namespace headlight::kernels {
namespace {

using namespace testing;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kLengths[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 576, 1000};

std::size_t at(std::int64_t index) {
  return static_cast<std::size_t>(index);
}

class Elementwise : public ::testing::TestWithParam<CpuTier> {
 protected:
  ForcedTier tier_{GetParam()};
  std::mt19937 random_{77};
  ThreadPool pool_{2};
};

TEST_P(Elementwise, RmsNorm) {
  for (const std::int64_t d : kLengths) {
    const std::int64_t n = 3;
    const auto x = random_values(at(n * d), random_, 3.0f), weight = random_values(at(d), random_);
    std::vector<float> y(x.size());
    rms_norm(pool_, x.data(), y.data(), n, d, weight.data(), 1e-5f);
    for (std::int64_t i = 0; i < n; ++i) {
      double square = 0.0;
      for (std::int64_t k = 0; k < d; ++k) square += double{x[at(i * d + k)]} * x[at(i * d + k)];
      const double root = std::sqrt(square / static_cast<double>(d) + 1e-5);
      for (std::int64_t k = 0; k < d; ++k) {
        const double expected = weight[at(k)] * x[at(i * d + k)] / root;
        ASSERT_NEAR(y[at(i * d + k)], expected, 2e-6 * std::fabs(expected)) << "d " << d;
      }
    }
    auto in_place = x;
    rms_norm(pool_, in_place.data(), in_place.data(), n, d, weight.data(), 1e-5f);
    EXPECT_EQ(in_place, y);
  }
}

TEST_P(Elementwise, ExpShifted) {
  for (const std::int64_t n : kLengths) {
    const auto x = random_values(at(n), random_, 40.0f);
    auto y = x;
    exp_shifted(y.data(), n, 0.125f, 3.0f);
    for (std::int64_t k = 0; k < n; ++k) {
      const double exponent = 0.125 * x[at(k)] - 3.0, expected = std::exp(exponent);
      ASSERT_NEAR(y[at(k)], expected, (2.5e-7 + 1.2e-7 * std::fabs(exponent)) * expected) << "n " << n;
    }
  }
  float special[] = {-kInfinity, -1000.0f, kNan, kInfinity, 0.0f};
  exp_shifted(special, 5, 1.0f, 0.0f);
  EXPECT_EQ(special[0], 0.0f);
  EXPECT_EQ(special[1], 0.0f);
  EXPECT_TRUE(std::isnan(special[2]));
  EXPECT_EQ(special[3], kInfinity);
  EXPECT_EQ(special[4], 1.0f);
}

TEST_P(Elementwise, LayerNorm) {
  for (const std::int64_t d : kLengths) {
    for (const bool with_bias : {false, true}) {
      const std::int64_t n = 2;
      auto x = random_values(at(n * d), random_, 2.0f);
      for (float& v : x) v += 10.0f;  // a mean far from 0: E[x^2] - E[x]^2 would lose digits
      const auto weight = random_values(at(d), random_), bias = random_values(at(d), random_);
      std::vector<float> y(x.size());
      layer_norm(pool_, x.data(), y.data(), n, d, weight.data(), with_bias ? bias.data() : nullptr, 1e-5f);
      for (std::int64_t i = 0; i < n; ++i) {
        double mean = 0.0, variance = 0.0;
        for (std::int64_t k = 0; k < d; ++k) mean += x[at(i * d + k)];
        mean /= static_cast<double>(d);
        for (std::int64_t k = 0; k < d; ++k) variance += std::pow(x[at(i * d + k)] - mean, 2);
        variance /= static_cast<double>(d);
        for (std::int64_t k = 0; k < d; ++k) {
          const double expected =
              (x[at(i * d + k)] - mean) / std::sqrt(variance + 1e-5) * weight[at(k)] + (with_bias ? bias[at(k)] : 0.0f);
          ASSERT_NEAR(y[at(i * d + k)], expected, 1e-5 * (1.0 + std::fabs(expected))) << "d " << d;
        }
      }
      layer_norm(pool_, x.data(), x.data(), n, d, weight.data(), with_bias ? bias.data() : nullptr, 1e-5f);
      EXPECT_EQ(x, y);
    }
  }
}

TEST_P(Elementwise, RmsNormHeadsTouchesOnlyTheHeads) {
  const std::int64_t n = 5, stride = 3 * 40 + 7;
  const auto before = random_values(at(n * stride), random_), weight = random_values(40, random_);
  auto x = before;
  rms_norm_heads(pool_, x.data(), n, stride, 3, 40, weight.data(), 1e-6f);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t h = 0; h < 3; ++h) {
      std::vector<float> expected(40);
      rms_norm(pool_, before.data() + i * stride + h * 40, expected.data(), 1, 40, weight.data(), 1e-6f);
      EXPECT_EQ(0, std::memcmp(expected.data(), x.data() + i * stride + h * 40, 160));
    }
    for (std::int64_t k = 120; k < stride; ++k) EXPECT_EQ(before[at(i * stride + k)], x[at(i * stride + k)]);
  }
}

TEST_P(Elementwise, RopeWorkedExample) {
  // theta 10000, rotary_dim 4, position 3: inverse frequencies 1 and 0.01.
  std::vector<float> x{1, 0, 0, 1};
  const float cos_sin[] = {std::cos(3.0f), std::cos(0.03f), std::sin(3.0f), std::sin(0.03f)};
  rope(pool_, x.data(), 1, 4, 1, 4, 4, cos_sin);
  const float expected[] = {-0.9899925f, -0.0299955f, 0.1411200f, 0.9995500f};
  for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(x[k], expected[k], 1e-6);
}

TEST_P(Elementwise, RopeRotatesEveryHead) {
  for (const int rotary : {2, 6, 16, 40, 64}) {
    const int head_dim = 64, heads = 3;
    const std::int64_t n = 4, stride = head_dim * heads + 5;
    const auto before = random_values(at(n * stride), random_), angles = random_values(at(n * rotary), random_);
    auto x = before;
    rope(pool_, x.data(), n, stride, heads, head_dim, rotary, angles.data());
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t h = 0; h < heads; ++h) {
        for (int k = 0; k < head_dim; ++k) {
          const int half = rotary / 2, j = k % half;
          const std::size_t head = at(i * stride + h * head_dim), turn = at(i * rotary);
          double expected = before[head + at(k)];
          const double c = angles[turn + at(j)], s = angles[turn + at(half + j)];
          if (k < half) expected = before[head + at(k)] * c - before[head + at(k + half)] * s;
          if (k >= half && k < rotary) expected = before[head + at(k)] * c + before[head + at(k - half)] * s;
          ASSERT_NEAR(x[head + at(k)], expected, 2e-6) << "rotary " << rotary << " k " << k;
        }
      }
      for (std::int64_t k = heads * head_dim; k < stride; ++k)
        EXPECT_EQ(before[at(i * stride + k)], x[at(i * stride + k)]);
    }
  }
}

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

struct Curve {
  ActivationKind kind;
  std::function<double(double)> value;
  double relative, absolute;
};

const Curve kCurves[] = {
    {ActivationKind::silu, [](double x) { return x * sigmoid(x); }, 1e-6, 1e-37},
    {ActivationKind::quick_gelu, [](double x) { return x * sigmoid(1.702 * x); }, 2e-5, 1e-37},
    {ActivationKind::gelu_tanh,
     [](double x) { return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x))); }, 1e-6,
     1e-6},
    {ActivationKind::gelu_exact, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }, 1e-6, 2e-6},
};

TEST_P(Elementwise, ActivationsFollowTheirCurves) {
  std::vector<float> points;
  for (float x = -30.0f; x <= 30.0f; x += 0.0137f) points.push_back(x);
  for (const float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 88.0f, 100.0f, 1e30f, -80.0f}) points.push_back(x);
  for (const auto& curve : kCurves) {
    auto y = points;
    activation(pool_, curve.kind, y.data(), static_cast<std::int64_t>(y.size()));
    for (std::size_t k = 0; k < y.size(); ++k) {
      const double expected = curve.value(points[k]);
      ASSERT_NEAR(y[k], expected, curve.relative * std::fabs(expected) + curve.absolute) << "x = " << points[k];
    }
    const auto up = random_values(points.size(), random_);
    std::vector<float> gated(points.size());
    gated_activation(pool_, curve.kind, points.data(), up.data(), gated.data(), static_cast<std::int64_t>(up.size()));
    for (std::size_t k = 0; k < y.size(); ++k) ASSERT_EQ(gated[k], y[k] * up[k]) << points[k];
  }
}

TEST_P(Elementwise, ClampedSwiglu) {
  const auto gate = random_values(1001, random_, 6.0f), up = random_values(1001, random_, 6.0f);
  std::vector<float> out(1001);
  gated_activation(pool_, ActivationKind::clamped_swiglu, gate.data(), up.data(), out.data(), 1001);
  for (std::size_t k = 0; k < out.size(); ++k) {
    const double g = std::min(gate[k], 7.0f), u = std::clamp(up[k], -7.0f, 7.0f);
    const double expected = (u + 1.0) * g * sigmoid(1.702 * g);
    ASSERT_NEAR(out[k], expected, 1e-5 * std::fabs(expected) + 1e-6);
  }
}

TEST_P(Elementwise, NanStaysNan) {
  for (const auto kind : {ActivationKind::silu, ActivationKind::gelu_exact, ActivationKind::gelu_tanh,
                          ActivationKind::quick_gelu, ActivationKind::clamped_swiglu}) {
    std::vector<float> gate(40, 0.5f), up(40, 2.0f), out(40);
    gate[3] = gate[37] = up[20] = kNan;
    gated_activation(pool_, kind, gate.data(), up.data(), out.data(), 40);
    for (std::size_t k = 0; k < 40; ++k) ASSERT_EQ(std::isnan(out[k]), k == 3 || k == 37 || k == 20) << k;
  }
  std::vector<float> x(40, 1.0f), weight(40, 1.0f);
  x[39] = kNan;
  soft_cap(pool_, x.data(), 30.0f, 40);
  for (std::size_t k = 0; k < 40; ++k) ASSERT_EQ(std::isnan(x[k]), k == 39);
  rms_norm(pool_, x.data(), x.data(), 1, 40, weight.data(), 1e-5f);
  for (const float v : x) ASSERT_TRUE(std::isnan(v));
}

TEST_P(Elementwise, SoftCapIsATanh) {
  for (const float cap : {0.5f, 30.0f, 50.0f}) {
    std::vector<float> x;
    for (float v = -200.0f; v <= 200.0f; v += 0.171f) x.push_back(v);
    x.insert(x.end(), {0.0f, 1e-20f, kInfinity, -kInfinity, 3e38f});
    auto y = x;
    soft_cap(pool_, y.data(), cap, static_cast<std::int64_t>(y.size()));
    for (std::size_t k = 0; k < y.size(); ++k) {
      const double expected = cap * std::tanh(double{x[k]} / cap);
      ASSERT_NEAR(y[k], expected, 5e-7 * std::fabs(expected)) << x[k];
    }
  }
}

TEST_P(Elementwise, AddAndScale) {
  for (const std::int64_t count : kLengths) {
    const auto a = random_values(at(count), random_), b = random_values(at(count), random_);
    auto sum = a, scaled = a;
    add(pool_, sum.data(), b.data(), count);
    scale(pool_, scaled.data(), 1.7f, count);
    for (std::int64_t k = 0; k < count; ++k) {
      ASSERT_EQ(sum[at(k)], a[at(k)] + b[at(k)]);
      ASSERT_EQ(scaled[at(k)], a[at(k)] * 1.7f);
    }
  }
}

TEST_P(Elementwise, SameBitsForAnyThreadCount) {
  const std::int64_t n = 300, d = 577;
  const auto x = random_values(at(n * d), random_), weight = random_values(at(d), random_);
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<float> y(x.size());
    rms_norm(pool, x.data(), y.data(), n, d, weight.data(), 1e-5f);
    gated_activation(pool, ActivationKind::silu, y.data(), x.data(), y.data(), n * d);
    add(pool, y.data(), x.data(), n * d);
    soft_cap(pool, y.data(), 3.0f, n * d);
    if (first.empty()) first = y;
    EXPECT_EQ(0, std::memcmp(first.data(), y.data(), y.size() * sizeof(float))) << threads;
  }
}

TEST_P(Elementwise, RowFacts) {
  EXPECT_EQ(row_facts({}).absmax, 0.0f);
  for (const std::int64_t count : kLengths) {
    auto x = random_values(at(count), random_);
    const std::size_t largest = at(count / 2);
    x[largest] = -9.5f;
    x.back() = x[largest] = -9.5f;  // the first of equal ones counts
    double sum = 0.0, square = 0.0;
    for (const float v : x) sum += v, square += double{v} * v;
    const RowFacts facts = row_facts(x);
    EXPECT_EQ(facts.absmax, 9.5f);
    EXPECT_EQ(at(facts.absmax_index), largest);
    EXPECT_NEAR(facts.mean, sum / static_cast<double>(count), 1e-6);
    EXPECT_FLOAT_EQ(facts.rms, static_cast<float>(std::sqrt(square / static_cast<double>(count))));
    EXPECT_FLOAT_EQ(facts.norm_l2, static_cast<float>(std::sqrt(square)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Elementwise, ::testing::ValuesIn(available_cpu_tiers()),
                         [](const auto& param) { return std::string(to_string(param.param)); });

}  // namespace
}  // namespace headlight::kernels
