#include "analysis/evaluation/paired_statistics.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlight::analysis {
namespace {

TEST(McNemarTest, ExactAgainstHandComputedCases) {
  EXPECT_NEAR(mcnemar(8, 2).p, 0.109375, 1e-12);
  EXPECT_NEAR(mcnemar(2, 8).p, 0.109375, 1e-12);
  EXPECT_NEAR(mcnemar(0, 5).p, 0.0625, 1e-12);
  EXPECT_EQ(mcnemar(0, 0).p, 1.0);
  EXPECT_EQ(mcnemar(3, 3).p, 1.0);  // twice the tail is more than 1
  EXPECT_NEAR(mcnemar(400, 300).p, 0.00017847631448562, 1e-12);
}

TEST(McNemarTest, CountsPairsThatChange) {
  const std::vector<std::uint8_t> before = {1, 1, 0, 0, 1, 0}, after = {1, 0, 1, 1, 0, 0};
  const McNemar found = mcnemar(before, after);
  EXPECT_EQ(found.lost, 2);
  EXPECT_EQ(found.gained, 2);
}

TEST(PairedDifferenceTest, HoldsTheMeanAndIsNarrowWhereAllPairsAgree) {
  const std::vector<double> before(50, 0.25), after(50, 0.75);
  const Interval same = paired_difference(before, after, 1);
  EXPECT_DOUBLE_EQ(same.mean, 0.5);
  EXPECT_DOUBLE_EQ(same.low, 0.5);
  EXPECT_DOUBLE_EQ(same.high, 0.5);
  // Two pairs, 0 and 1: means 0, 1/2 and 1 of resamples with 1/4, 1/2 and 1/4, so 95 % need all of them.
  const Interval two = paired_difference(std::vector<double>{0, 0}, std::vector<double>{0, 1}, 3);
  EXPECT_EQ(two.mean, 0.5);
  EXPECT_EQ(two.low, 0.0);
  EXPECT_EQ(two.high, 1.0);
  std::vector<double> none(400), half(400);
  for (std::size_t k = 0; k < half.size(); ++k) half[k] = static_cast<double>(k % 2);
  const Interval wide = paired_difference(none, half, 7);
  EXPECT_DOUBLE_EQ(wide.mean, 0.5);
  // Standard error 0.5 / 20: the interval is 1.96 of it to each side.
  EXPECT_NEAR(wide.low, 0.451, 0.008);
  EXPECT_NEAR(wide.high, 0.549, 0.008);
}

TEST(BenjaminiHochbergTest, WorkedExample) {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005};
  EXPECT_THAT(benjamini_hochberg(p),
              ::testing::ElementsAre(::testing::DoubleNear(0.02, 1e-12), ::testing::DoubleNear(0.04, 1e-12),
                                     ::testing::DoubleNear(0.04, 1e-12), ::testing::DoubleNear(0.02, 1e-12)));
  EXPECT_THAT(benjamini_hochberg(std::vector<double>{0.9, 0.8}), ::testing::Each(0.9));
  EXPECT_TRUE(benjamini_hochberg({}).empty());
}

TEST(PowerTest, TwoPointsOfTenPercentDiscordantPairs) {
  EXPECT_NEAR(pairs_needed(0.10, 0.02), 1962.5, 1e-9);
}

TEST(PercentileTest, EqualOnesCountHalf) {
  EXPECT_DOUBLE_EQ(percentile_among(2.0, std::vector<double>{1.0, 2.0, 3.0, 0.0}), 0.625);
  EXPECT_TRUE(std::isnan(percentile_among(2.0, {})));
}

}  // namespace
}  // namespace headlight::analysis
