#include "base/split_mix.h"

#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlight {
namespace {

TEST(SplitMix64, KnownDraws) {
  SplitMix64 random(42);
  for (const std::uint64_t expected :
       {0xbdd732262feb6e95ull, 0x28efe333b266f103ull, 0x47526757130f9f52ull, 0x581ce1ff0e4ae394ull})
    EXPECT_EQ(random.next(), expected);
  SplitMix64 bounded(42);
  for (const std::uint64_t expected : {3, 1, 8, 4, 0, 2, 5, 8}) EXPECT_EQ(bounded.below(10), expected);
  std::vector<int> items(8);
  std::iota(items.begin(), items.end(), 0);
  SplitMix64(42).shuffle(items);
  EXPECT_THAT(items, ::testing::ElementsAre(3, 1, 6, 2, 4, 0, 7, 5));
}

TEST(SplitMix64, DrawsAreInRange) {
  SplitMix64 random(7);
  double sum = 0;
  for (int k = 0; k < 4000; ++k) {
    EXPECT_EQ(random.below(1), 0u);
    const double u = random.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 4000, 0.5, 0.02);  // 4.4 standard deviations
}

TEST(SplitMix64, StreamsDiffer) {
  EXPECT_NE(SplitMix64::stream(0, "needle", 0).next(), SplitMix64::stream(0, "needle", 1).next());
  EXPECT_NE(SplitMix64::stream(0, "needle", 0).next(), SplitMix64::stream(0, "repeat", 0).next());
  EXPECT_EQ(SplitMix64::stream(3, "needle", 5).next(), SplitMix64::stream(3, "needle", 5).next());
}

}  // namespace
}  // namespace headlight
