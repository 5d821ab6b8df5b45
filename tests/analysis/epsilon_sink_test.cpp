#include "analysis/sinks/epsilon_sink.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "tests/analysis/worked_example.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

TEST(EpsilonSink, E4) {
  const WorkedExample e4(capture::e4_reference());
  const auto alpha = column_means(e4.row("received"), e4.row("off0"), e4.geometry);
  EXPECT_THAT(alpha, ElementsAre(DoubleNear(0.7, 1e-6), DoubleNear(0.233333, 1e-6), DoubleNear(0.2, 1e-6),
                                 DoubleNear(0.1, 1e-6)));
  EXPECT_EQ(sink_rate({&alpha[0], 1}, 0.3), 100.0);
  for (std::size_t k = 1; k < 4; ++k) EXPECT_EQ(sink_rate({&alpha[k], 1}, 0.3), 0.0);
  EXPECT_EQ(sink_rate({&alpha[0], 1}, 0.7), 0.0) << "strictly above, and rounding does not flip it";
}

TEST(EpsilonSink, SelfCanBeLeftOut) {
  const WorkedExample e4(capture::e4_reference());
  const auto alpha = column_means(e4.row("received"), e4.row("off0"), e4.geometry, {.exclude_self = true});
  EXPECT_NEAR(alpha[0], 0.6, 1e-6);
  EXPECT_NEAR(alpha[1], 0.15, 1e-6);
  EXPECT_TRUE(std::isnan(alpha[3])) << "no other row sees the last key";
  EXPECT_NEAR(first_token_means(e4.row("first"), e4.geometry, 0, true)[0], 0.6, 1e-6);
}

TEST(EpsilonSink, FirstTokenOverFewerRows) {
  const WorkedExample e4(capture::e4_reference());
  EXPECT_NEAR(first_token_means(e4.row("first"), e4.geometry, 0)[0], 0.7, 1e-6);
  EXPECT_NEAR(first_token_means(e4.row("first"), e4.geometry, 64)[0], 0.7, 1e-6);
  EXPECT_NEAR(first_token_means(e4.row("first"), e4.geometry, 2)[0], 0.8, 1e-6);
}

TEST(EpsilonSink, UniformAttentionIsTheHarmonicNumber) {
  capture::DenseReference uniform(capture::TestShape{.name = "uniform"});
  uniform.compute();
  const WorkedExample example(uniform);
  EXPECT_NEAR(column_means(example.row("received"), {}, example.geometry)[0], 0.520833, 1e-6);
}

TEST(EpsilonSink, EveryRowIsCountedOnce) {
  for (const std::int64_t window : {0, 5})
    for (const std::int64_t first_key : {0, 3}) {
      capture::DenseReference random(
          capture::TestShape{.name = "random", .num_rows = 33, .window = window, .first_key = first_key});
      random.fill_random(7, 1.0f);
      random.compute();
      const WorkedExample example(random);
      const auto alpha = column_means(example.row("received"), {}, example.geometry);
      double sum = 0.0;
      for (std::int64_t k = first_key; k < 33; ++k)
        sum += static_cast<double>(example.geometry.visible_rows(k)) * alpha[static_cast<std::size_t>(k)];
      EXPECT_NEAR(sum, static_cast<double>(33 - first_key), 1e-4);
      EXPECT_NEAR(first_token_means(example.row("first"), example.geometry, 0)[0], alpha[static_cast<std::size_t>(first_key)],
                  1e-6)
          << "rows and columns agree, window " << window << ", padding " << first_key;
    }
}

}  // namespace
}  // namespace headlight::analysis
