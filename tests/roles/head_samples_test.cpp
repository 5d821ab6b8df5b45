#include "analysis/roles/head_samples.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/split_mix.h"

namespace headlight::analysis {
namespace {

using ::testing::ElementsAre;

HeadSample sample(const std::string& group, HeadValues values, bool counted = true) {
  return {.group = group, .counted = counted, .scores = {{"s", std::move(values)}}, .facts = {}};
}

TEST(Summarize, MeansIntervalsAndGroups) {
  const std::vector<HeadSample> samples = {sample("a", {1, 0, NAN}), sample("a", {3, 0, NAN}), sample("b", {2, 1, 5}),
                                           sample("b", {9, 9, 9}, false)};
  const auto s = summarize("s", samples, 0);
  EXPECT_EQ(s.samples, 3);
  EXPECT_DOUBLE_EQ(s.mean[0], 2);
  EXPECT_DOUBLE_EQ(s.mean[1], 1.0 / 3);
  EXPECT_DOUBLE_EQ(s.mean[2], 5);  // the only sample that defines it
  EXPECT_EQ(s.low[0], 1);
  EXPECT_EQ(s.high[0], 3);
  EXPECT_TRUE(std::isnan(s.low[2]));
  EXPECT_DOUBLE_EQ(s.group_means.at("a")[0], 2);
  EXPECT_DOUBLE_EQ(s.stability, 1.0);
  EXPECT_EQ(summarize("other", samples, 0).samples, 0);
}

// The interval of the mean of n draws is about 1.96 standard errors on both sides.
TEST(Summarize, IntervalOfTheMeanOfManyDraws) {
  SplitMix64 random(5);
  std::vector<HeadSample> samples;
  for (int k = 0; k < 400; ++k) samples.push_back(sample("a", {random.uniform()}));
  const auto s = summarize("s", samples, 1);
  const double error = std::sqrt(1.0 / 12 / 400);
  EXPECT_NEAR((s.high[0] - s.low[0]) / (2 * 1.96 * error), 1.0, 0.12);
  EXPECT_NEAR(s.mean[0], 0.5, 4 * error);
  EXPECT_EQ(summarize("s", samples, 1).low, s.low);
}

TEST(Summarize, OneSampleHasNoInterval) {
  const std::vector<HeadSample> samples = {sample("a", {1})};
  const auto s = summarize("s", samples, 0);
  EXPECT_EQ(s.mean[0], 1);
  EXPECT_TRUE(std::isnan(s.low[0]) && std::isnan(s.high[0]) && std::isnan(s.stability));
}

TEST(Spearman, Ranks) {
  const std::vector<double> a = {1, 2, 3, 4, NAN}, b = {10, 20, 30, 40, 1}, c = {4, 3, 2, 1, 0}, tied = {1, 1, 2, 2, 0};
  EXPECT_DOUBLE_EQ(rank_agreement(a, b), 1.0);
  EXPECT_DOUBLE_EQ(rank_agreement(a, c), -1.0);
  EXPECT_NEAR(rank_agreement(a, tied), 4.0 / std::sqrt(20.0), 1e-12);
  EXPECT_TRUE(std::isnan(rank_agreement(std::vector<double>{1, 2}, std::vector<double>{3, 3})));
}

TEST(Ranking, TiesGoByIndex) {
  EXPECT_THAT(ranking(std::vector<double>{1, NAN, 3, 1}), ElementsAre(2, 0, 3));
}

TEST(KvHeads, MaxForCapabilityMeanForMass) {
  const std::vector<double> q = {0.0, 1.0, 0.5, NAN, NAN, NAN, 0.2, 0.4};
  EXPECT_THAT(to_kv_heads(q, 1, 8, 4, GroupReduce::max), ElementsAre(1.0, 0.5, ::testing::IsNan(), 0.4));
  const auto mean = to_kv_heads(q, 2, 4, 2, GroupReduce::mean);
  EXPECT_NEAR(mean[0], 0.5, 1e-12);
  EXPECT_NEAR(mean[3], 0.3, 1e-12);
}

TEST(HeadSamples, SurviveJson) {
  const HeadSample s{
      .group = "512", .counted = false, .scores = {{"a", {1.5, NAN}}, {"b", {0, 2}}}, .facts = {{"x", 1}}};
  const HeadSample back = head_sample_from_json(parse_json(to_json(s).dump()));
  EXPECT_EQ(back.group, "512");
  EXPECT_FALSE(back.counted);
  ASSERT_EQ(back.scores.size(), 2u);
  EXPECT_EQ(back.scores[0].second[0], 1.5);
  EXPECT_TRUE(std::isnan(back.scores[0].second[1]));
  EXPECT_EQ(back.facts["x"], 1);
}

}  // namespace
}  // namespace headlight::analysis
