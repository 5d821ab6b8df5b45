#include "core/engine/sampler.h"

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "core/engine/logits.h"

namespace headlight::engine {
namespace {

using Words = std::array<std::uint32_t, 4>;

TEST(Philox, MatchesThePublishedVectors) {
  EXPECT_EQ(philox_4x32_10({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  const std::uint32_t ones = 0xffffffffu;
  EXPECT_EQ(philox_4x32_10({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox_4x32_10({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, DrawsDependOnSeedRecordAndStep) {
  EXPECT_NE(uniform_draw(1, 0, 0), uniform_draw(2, 0, 0));
  EXPECT_NE(uniform_draw(1, 0, 0), uniform_draw(1, 1, 0));
  EXPECT_NE(uniform_draw(1, 0, 0), uniform_draw(1, 0, 1));
  EXPECT_EQ(uniform_draw(7, 3, 9), uniform_draw(7, 3, 9));
  double mean = 0.0;
  for (std::uint64_t step = 0; step < 4000; ++step) {
    const double u = uniform_draw(0, 0, step);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    mean += u / 4000;
  }
  EXPECT_NEAR(mean, 0.5, 0.02);
}

TEST(Logits, FactsOfAKnownDistribution) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  const LogitFacts facts = logit_facts(logits);
  EXPECT_NEAR(facts.log_sum, std::log(8.0), 1e-6);
  const double entropy = -(0.125 * std::log(0.125) + 0.25 * std::log(0.25) + 0.625 * std::log(0.625));
  EXPECT_NEAR(facts.entropy, entropy, 1e-6);
  EXPECT_NEAR(logprob_of(logits, facts, 2), std::log(0.625), 1e-6);
}

TEST(Logits, FactsSurviveLargeValuesAndMinusInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  const LogitFacts facts = logit_facts(std::vector<float>{1e4f, -inf, 1e4f, -1e4f});
  EXPECT_NEAR(facts.log_sum, 1e4 + std::log(2.0), 1e-3);
  EXPECT_NEAR(facts.entropy, std::log(2.0), 1e-6);
}

TEST(Logits, TopIdsFallAndBreakTiesByTheSmallerId) {
  std::array<std::int32_t, 4> ids{};
  top_ids(std::vector<float>{1.0f, 3.0f, 2.0f, 3.0f, 2.0f, 0.0f}, ids);
  EXPECT_EQ(ids, (std::array<std::int32_t, 4>{1, 3, 2, 4}));
}

std::map<std::int32_t, int> histogram(const std::vector<float>& logits, const SamplingOptions& options, int draws) {
  std::map<std::int32_t, int> counts;
  for (int step = 0; step < draws; ++step)
    ++counts[sample_token(logits, options, 0, static_cast<std::uint64_t>(step)).id];
  return counts;
}

TEST(Sampling, GreedyTakesTheSmallestIdOfATie) {
  const GeneratedToken token = sample_token(std::vector<float>{1.0f, 2.0f, 2.0f}, {}, 0, 0);
  EXPECT_EQ(token.id, 1);
  EXPECT_NEAR(token.logprob, 2.0 - std::log(std::exp(1.0) + 2 * std::exp(2.0)), 1e-6);
}

TEST(Sampling, FrequenciesFollowTheDistribution) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.7f)};
  SamplingOptions options;
  options.temperature = 1.0f;
  auto counts = histogram(logits, options, 20000);
  EXPECT_NEAR(counts[0] / 20000.0, 0.1, 0.01);
  EXPECT_NEAR(counts[1] / 20000.0, 0.2, 0.01);
  options.temperature = 0.5f;  // squares the odds: 0.01 : 0.04 : 0.49
  counts = histogram(logits, options, 20000);
  EXPECT_NEAR(counts[1] / 20000.0, 0.04 / 0.54, 0.01);
}

TEST(Sampling, TopKAndTopPCutTheTail) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.3f), std::log(0.4f)};
  SamplingOptions options;
  options.temperature = 1.0f;
  options.top_k = 2;
  auto counts = histogram(logits, options, 2000);
  EXPECT_EQ(counts.count(0) + counts.count(1), 0u);
  EXPECT_NEAR(counts[3] / 2000.0, 4.0 / 7.0, 0.04);
  options.top_k = 0;
  options.top_p = 0.65f;  // 0.4 + 0.3 reach it
  counts = histogram(logits, options, 2000);
  EXPECT_EQ(counts.count(0) + counts.count(1), 0u);
  EXPECT_EQ(counts.count(2), 1u);
  options.top_p = 0.01f;  // never fewer than one
  EXPECT_EQ(histogram(logits, options, 100).size(), 1u);
}

TEST(Sampling, SeedsGiveOtherTextsAndTheSameSeedTheSame) {
  const std::vector<float> logits(64, 0.0f);
  SamplingOptions a, b;
  a.temperature = b.temperature = 1.0f;
  b.seed = 1;
  int same = 0;
  for (std::uint64_t step = 0; step < 64; ++step) {
    EXPECT_EQ(sample_token(logits, a, 2, step).id, sample_token(logits, a, 2, step).id);
    same += sample_token(logits, a, 2, step).id == sample_token(logits, b, 2, step).id;
  }
  EXPECT_LT(same, 16);
}

TEST(Sampling, RefusesOptionsOutsideTheirRange) {
  const auto refused = [](float temperature, int top_k, float top_p) {
    SamplingOptions options;
    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    try {
      check_sampling(options);
    } catch (const Error& error) {
      return error.code() == Errc::invalid_argument;
    }
    return false;
  };
  EXPECT_TRUE(refused(-1.0f, 0, 1.0f));
  EXPECT_TRUE(refused(std::nanf(""), 0, 1.0f));
  EXPECT_TRUE(refused(1.0f, -1, 1.0f));
  EXPECT_TRUE(refused(1.0f, 0, 0.0f));
  EXPECT_TRUE(refused(1.0f, 0, 1.5f));
  EXPECT_FALSE(refused(0.7f, 40, 0.9f));
}

}  // namespace
}  // namespace headlight::engine
