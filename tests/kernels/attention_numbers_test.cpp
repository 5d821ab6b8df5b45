// Worked examples with known numbers, special values, and the vector functions.

#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>

#include <gtest/gtest.h>

#include "attention_case.h"

#include "kernels/attention_tiers.h"

namespace headlight::kernels::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class AttentionNumbers : public ::testing::TestWithParam<CpuTier> {
 protected:
  void SetUp() override { set_cpu_tier(GetParam()); }
  void TearDown() override { set_cpu_tier(detected_cpu_tier()); }

  static const AttentionLoops& loops() {
    if (GetParam() == CpuTier::scalar) return attention_loops_scalar();
#if defined(__x86_64__)
    if (GetParam() == CpuTier::avx2) return attention_loops_avx2();
    return attention_loops_avx512();
#else
    return attention_loops_scalar();
#endif
  }
};

/// One causal head whose scores are the given lower triangle: q_i is the row, k_j the j-th unit vector.
AttentionCase case_of_scores(const std::vector<std::vector<float>>& scores) {
  const auto n = static_cast<std::int64_t>(scores.size());
  AttentionCase c = random_case({n, n, 1, 1, 16}, 1);
  c.in.scale = 1.0f;
  std::fill(c.q.begin(), c.q.end(), 0.0f);
  std::fill(c.k.begin(), c.k.end(), 0.0f);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    c.k[i * 16 + i] = 1.0f;
    for (std::size_t j = 0; j < scores[i].size(); ++j)
      c.q[i * static_cast<std::size_t>(c.in.q_stride) + j] = scores[i][j];
  }
  c.plan = {};
  c.attach();
  return c;
}

TEST_P(AttentionNumbers, FourByFourExample) {
  const double attn[4][4] = {{1}, {0.6, 0.4}, {0.5, 0.2, 0.3}, {0.7, 0.1, 0.1, 0.1}};
  std::vector<std::vector<float>> scores(4);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j <= i; ++j)
      scores[i].push_back(static_cast<float>(std::log(attn[i][j]) + 3.0 * static_cast<double>(i)));
  const AttentionOutputs got = run_attention(case_of_scores(scores), 2);
  const double entropy[] = {0, 0.673012, 1.029653, 0.940448}, distance[] = {0, 0.6, 1.2, 2.4};
  const double received[] = {2.8, 0.7, 0.4, 0.1};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(got.lse[i], 3.0 * static_cast<double>(i), 1e-5);  // a constant per row moves lse and nothing else
    EXPECT_NEAR(got.entropy[i], entropy[i], 2e-6);
    EXPECT_NEAR(got.dist1[i], distance[i], 2e-6);
    EXPECT_NEAR(got.received[i], received[i], 2e-6);
    EXPECT_NEAR(got.first[i], attn[i][0], 2e-6);
    EXPECT_NEAR(got.off0[i], attn[i][i], 2e-6);
    EXPECT_NEAR(got.pmax[i], attn[i][0], 2e-6);
    EXPECT_EQ(got.jmax[i], 0);
  }
}

TEST_P(AttentionNumbers, ScoresOneTwoThree) {
  const AttentionOutputs got = run_attention(case_of_scores({{5}, {1, 1}, {1, 2, 3}}), 1);
  EXPECT_NEAR(got.lse[2], 3.407606, 1e-5);
  EXPECT_NEAR(got.entropy[2], 0.832395, 1e-5);
  EXPECT_NEAR(got.pmax[2], 0.665241, 1e-5);
  EXPECT_EQ(got.jmax[2], 2);
  EXPECT_NEAR(got.dist1[2], 0.424790, 1e-5);
  EXPECT_NEAR(got.dist2[2], 0.604847, 1e-5);
  EXPECT_EQ(got.jmax[1], 0) << "ties go to the smallest key";
  EXPECT_EQ(got.entropy[0], 0.0f);
  EXPECT_EQ(got.pmax[0], 1.0f);
}

TEST_P(AttentionNumbers, ConstantKeysGiveUniformRows) {
  AttentionCase c = random_case({700, 700, 2, 1, 64}, 2);
  for (std::int64_t j = 1; j < 700; ++j) std::copy_n(c.k.begin(), 64, c.k.begin() + j * 64);
  const AttentionOutputs got = run_attention(c, 2);
  for (std::size_t n = 0; n < 1400; ++n) {
    const double keys = static_cast<double>(n % 700 + 1);
    ASSERT_NEAR(got.entropy[n], std::log(keys), 1e-5);
    ASSERT_NEAR(got.pmax[n], 1.0 / keys, 1e-6);
    ASSERT_EQ(got.jmax[n], 0);
    ASSERT_NEAR(got.dist1[n], (keys - 1.0) / 2.0, 1e-4 * keys);
  }
}

TEST_P(AttentionNumbers, PlantedSink) {
  AttentionCase c = random_case({300, 300, 1, 1, 32}, 3);
  for (std::int64_t i = 0; i < 300; ++i) c.q[static_cast<std::size_t>(i * c.in.q_stride)] = 12.0f / c.in.scale;
  for (std::int64_t j = 0; j < 300; ++j) c.k[static_cast<std::size_t>(j * 32)] = j == 0 ? 1.0f : 0.0f;
  const AttentionOutputs got = run_attention(c, 2);
  expect_close(c, got, attention_reference(c.in, &c.plan));
  for (std::size_t i = 0; i < 300; ++i) EXPECT_GT(got.first[i], 0.8f);
  EXPECT_GT(got.received[0], 285.0f);
}

/// NaN in one key (and its value) appears in exactly the rows that see it, and in the columns of those rows.
TEST_P(AttentionNumbers, NanStaysWhereItIsSeen) {
  for (const std::int64_t window : {0, 20})
    for (const std::int64_t queries : {120, 3})
      for (const std::int64_t bad : {0, 37, 100, 118}) {
        AttentionCase c = random_case({queries, 120, 4, 2, 24}, 4);
        c.in.mask.window = window;
        c.plan.block_edge = 8;
        std::memset(&c.k[static_cast<std::size_t>(bad * 24 + 5)], 0xff, sizeof(float));  // a NaN with a full payload
        c.v[static_cast<std::size_t>(bad * 24 + 7)] = kNan;
        c.attach();
        const AttentionOutputs got = run_attention(c, 2);
        expect_close(c, got, attention_reference(c.in, &c.plan));
        for (std::int64_t n = 0; n < 4 * queries; ++n) {
          const KeyRange keys = c.in.mask.visible(c.in.query_start + n % queries, 120);
          const bool sees = n / queries < 2 && bad >= keys.begin && bad < keys.end;
          ASSERT_EQ(std::isnan(got.lse[static_cast<std::size_t>(n)]), sees) << "row " << n << " key " << bad;
        }
      }
}

TEST_P(AttentionNumbers, InfiniteKey) {
  for (const float value : {INFINITY, -INFINITY}) {
    AttentionCase c = random_case({60, 60, 1, 1, 16}, 5);
    c.k[20 * 16] = value;
    c.attach();
    const AttentionOutputs got = run_attention(c, 1);
    const AttentionReference want = attention_reference(c.in, &c.plan);
    for (std::size_t i = 0; i < 60; ++i) {
      EXPECT_EQ(std::isnan(got.lse[i]), std::isnan(want.lse_hi[i])) << i;
      EXPECT_EQ(std::isnan(got.out_ihd[i * 16]), std::isnan(want.out_ihd[i * 16])) << i;
      EXPECT_EQ(got.jmax[i], want.jmax_hi[i]) << i;
    }
  }
}

TEST_P(AttentionNumbers, AllScoresMinusInfinityIsAMaskedRow) {
  for (const bool null_logit : {false, true}) {
    AttentionCase c = case_of_scores({{-INFINITY}, {-INFINITY, 0}, {1, 2, 3}});
    for (std::size_t j = 0; j < 3; ++j) std::fill_n(c.k.begin() + static_cast<std::ptrdiff_t>(j * 16), 16, 1.0f);
    for (std::size_t i = 0; i < 3; ++i) {  // only the first channel counts: s = -inf, -inf, 0
      float* const q = &c.q[i * static_cast<std::size_t>(c.in.q_stride)];
      std::fill_n(q, 16, 0.0f);
      q[0] = i < 2 ? -INFINITY : 0.0f;
    }
    if (null_logit) c.null_logits = {0.5f};
    c.attach();
    const AttentionOutputs got = run_attention(c, 1);
    expect_close(c, got, attention_reference(c.in, &c.plan));
    EXPECT_EQ(got.jmax[0], -1);
    EXPECT_EQ(got.out_ihd[0], 0.0f);
    EXPECT_EQ(got.lse[0], null_logit ? 0.5f : -INFINITY);
    EXPECT_EQ(got.null_mass[0], null_logit ? 1.0f : 0.0f);
  }
}

TEST_P(AttentionNumbers, TapReceivesExactRows) {
  struct Tap final : RowTap {
    std::mutex mutex;
    std::vector<std::vector<float>> rows = std::vector<std::vector<float>>(6 * 90);
    std::int64_t calls = 0;
    bool wants(int head, std::int64_t position) const override { return (head + position) % 3 == 0; }
    void row(int head, std::int64_t position, KeyRange keys, std::span<const float> attn_j) override {
      const std::lock_guard lock(mutex);
      ++calls;
      EXPECT_EQ(keys.size(), static_cast<std::int64_t>(attn_j.size()));
      rows[static_cast<std::size_t>(head * 90 + position)].assign(attn_j.begin(), attn_j.end());
    }
  };
  for (const std::int64_t queries : {90, 2}) {
    AttentionCase c = random_case({queries, 90, 6, 3, 32}, 6);
    Tap tap;
    c.plan.tap = &tap;
    const AttentionOutputs got = run_attention(c, 2);
    std::int64_t expected_calls = 0;
    for (int h = 0; h < 6; ++h)
      for (std::int64_t i = 0; i < queries; ++i) {
        const std::int64_t position = c.in.query_start + i;
        if (!tap.wants(h, position)) continue;
        ++expected_calls;
        const std::vector<float>& row = tap.rows[static_cast<std::size_t>(h * 90 + position)];
        ASSERT_EQ(static_cast<std::int64_t>(row.size()), position + 1);
        std::vector<float> scores(row.size());
        attention_scores_row(c.in, h, i, {0, position + 1}, scores.data());
        const auto n = static_cast<std::size_t>(h * queries + i);
        for (std::size_t j = 0; j < row.size(); ++j) ASSERT_NEAR(row[j], std::exp(scores[j] - got.lse[n]), 2e-6);
        EXPECT_EQ(row[static_cast<std::size_t>(got.jmax[n])], got.pmax[n]);
        EXPECT_EQ(row.back(), got.off0[n]);
      }
    EXPECT_EQ(tap.calls, expected_calls);
  }
}

/// Replay: exp(s - lse) within 1e-5 + 2^-21 max|s| of A.
TEST_P(AttentionNumbers, ReplayOfRows) {
  for (const float spread : {1.0f, 30.0f})
    for (const float soft_cap : {0.0f, 20.0f})
      for (const bool bf16 : {false, true}) {
        AttentionCase c = random_case({130, 130, 4, 2, 80, spread}, 7);
        c.in.soft_cap = soft_cap;
        if (bf16) c.store_as_bf16();
        const AttentionOutputs got = run_attention(c, 1);
        const AttentionReference want = attention_reference(c.in, &c.plan);
        for (int h = 0; h < 4; ++h)
          for (const std::int64_t i : {0, 1, 64, 129}) {
            const auto n = static_cast<std::size_t>(h * 130 + i);
            std::vector<float> scores(static_cast<std::size_t>(i + 1));
            attention_scores_row(c.in, h, i, {0, i + 1}, scores.data());
            const std::vector<double> exact = attention_reference_scores(c.in, h, i, {0, i + 1});
            const double limit = 1e-5 + std::ldexp(want.score_absmax_hi[n], -21);
            for (std::size_t j = 0; j < scores.size(); ++j)
              ASSERT_NEAR(std::exp(static_cast<double>(scores[j]) - static_cast<double>(got.lse[n])),
                          std::exp(exact[j] - want.lse_hi[n]), limit)
                  << "head " << h << " row " << i << " spread " << spread << " cap " << soft_cap;
          }
      }
}

TEST_P(AttentionNumbers, ExponentialWithinTwoUlp) {
  std::vector<float> x;
  for (double z = 0.0; z > -125.0; z -= 0.00037) x.push_back(static_cast<float>(z));
  for (const float z : {-125.5f, -126.0f, -1000.0f, -INFINITY, kNan}) x.push_back(z);
  while (x.size() % 16 != 0) x.push_back(0.0f);
  std::vector<float> y = x;
  loops().exp2(y.data(), static_cast<std::int64_t>(y.size()));
  double worst = 0.0;
  for (std::size_t n = 0; n < x.size(); ++n) {
    if (std::isnan(x[n])) {
      EXPECT_TRUE(std::isnan(y[n]));
    } else if (x[n] < -125.0f) {
      EXPECT_EQ(y[n], 0.0f) << x[n];
    } else {
      const double exact = std::exp2(static_cast<double>(x[n]));
      const float next = std::nextafter(static_cast<float>(exact), INFINITY);
      worst = std::max(worst, std::abs(static_cast<double>(y[n]) - exact) /
                                  (static_cast<double>(next) - static_cast<double>(static_cast<float>(exact))));
    }
  }
  EXPECT_LE(worst, 2.0);
  EXPECT_EQ(y[0], 1.0f);
}

TEST_P(AttentionNumbers, TanhWithinThreeUlp) {
  std::vector<float> x;
  for (double z = -12.0; z < 12.0; z += 0.00041) x.push_back(static_cast<float>(z));
  for (const float z : {0.0f, 1e-20f, 100.0f, -INFINITY, INFINITY, kNan}) x.push_back(z);
  while (x.size() % 16 != 0) x.push_back(0.0f);
  std::vector<float> y = x;
  loops().tanh(y.data(), static_cast<std::int64_t>(y.size()));
  for (std::size_t n = 0; n < x.size(); ++n) {
    if (std::isnan(x[n])) {
      EXPECT_TRUE(std::isnan(y[n]));
      continue;
    }
    const double exact = std::tanh(static_cast<double>(x[n]));
    EXPECT_NEAR(y[n], exact, 3.0 * std::ldexp(std::abs(exact), -23)) << x[n];
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, AttentionNumbers, ::testing::ValuesIn(available_cpu_tiers()),
                         [](const auto& tier) { return std::string(to_string(tier.param)); });

}  // namespace
}  // namespace headlight::kernels::testing
