#include "analysis/roles/needle_scores.h"

#include <cmath>

#include <gtest/gtest.h>

namespace headlight::analysis {
namespace {

using Ids = std::vector<std::int32_t>;

std::vector<float> one_hot(std::size_t n, std::size_t at) {
  std::vector<float> row(n);
  row[at] = 1.0f;
  return row;
}

TEST(NeedleScores, TwoOfThreeTokensAreLookedAt) {
  const Ids prompt = {1, 2, 3, 4, 5, 7, 8, 9, 6, 6};
  const auto a = one_hot(10, 5), b = one_hot(10, 6), c = one_hot(10, 2);
  const std::vector<DecodeRow> steps = {{a, 7}, {b, 8}, {c, 9}};
  const auto s = needle_scores(steps, prompt, {5, 8});
  EXPECT_NEAR(s.retrieval, 2.0 / 3, 1e-12);
  EXPECT_NEAR(s.semantic, 2.0, 1e-12);
  EXPECT_NEAR(s.semantic_share, 2.0 / 3, 1e-12);
  EXPECT_NEAR(s.reasoning, 2.0 / 3, 1e-12);
}

TEST(NeedleScores, StaringAtOneTokenIsChance) {
  const Ids prompt = {7, 8, 9, 10, 0};
  const auto row = one_hot(5, 1);
  std::vector<DecodeRow> steps;
  for (const std::int32_t output : {7, 8, 9, 10}) steps.push_back({row, output});
  const auto s = needle_scores(steps, prompt, {0, 4});
  EXPECT_NEAR(s.retrieval, 0.25, 1e-12);
  EXPECT_NEAR(s.semantic_share, 1.0, 1e-12);
}

TEST(NeedleScores, RepeatedTokensCountWithTheirMultiplicity) {
  const Ids prompt = {7, 7, 8, 0};
  const std::vector<float> row = {0.25f, 0.25f, 0.25f, 0.25f};
  const std::vector<DecodeRow> steps = {{row, 7}, {row, 5}};
  const auto s = needle_scores(steps, prompt, {0, 3});
  EXPECT_NEAR(s.semantic, 2 * 0.75, 1e-12);
  EXPECT_NEAR(s.semantic_share, 0.75, 1e-12);
  EXPECT_NEAR(s.reasoning, 2 * 0.75 / 3, 1e-12);  // ties go to the lowest positions
  EXPECT_NEAR(s.retrieval, 1.0 / 3, 1e-12);
}

TEST(NeedleScores, NothingOfTheNeedle) {
  const Ids prompt = {7, 8, 0};
  const auto row = one_hot(3, 2);
  const std::vector<DecodeRow> steps = {{row, 0}};
  const auto s = needle_scores(steps, prompt, {0, 2});
  EXPECT_EQ(s.retrieval, 0);
  EXPECT_TRUE(std::isnan(s.semantic_share));
}

TEST(FindNeedle, ToleratesALostEdge) {
  Ids needle;
  for (std::int32_t k = 0; k < 20; ++k) needle.push_back(100 + k);
  Ids prompt(30, 1);
  prompt.insert(prompt.end(), needle.begin(), needle.end());
  prompt[30] = 2;  // first token merged with what was before
  prompt.insert(prompt.end(), 10, 1);
  EXPECT_EQ(find_needle(prompt, needle), (TokenSpan{30, 50}));
  prompt[31] = prompt[49] = 2;
  EXPECT_EQ(find_needle(prompt, needle), (TokenSpan{-1, -1}));
  EXPECT_EQ(find_needle(Ids{1, 2}, needle), (TokenSpan{-1, -1}));
}

TEST(Rouge, RecallOfWords) {
  EXPECT_NEAR(rouge1_recall("The red door, the old key.", "the OLD red key"), 1.0, 1e-12);
  EXPECT_NEAR(rouge1_recall("red", "red red door"), 1.0 / 3, 1e-12);
  EXPECT_EQ(rouge1_recall("", "word"), 0.0);
  EXPECT_TRUE(std::isnan(rouge1_recall("word", "...")));
}

TEST(RetrievalThreshold, RisesForShortNeedles) {
  EXPECT_DOUBLE_EQ(retrieval_threshold(8), 0.1875);
  EXPECT_DOUBLE_EQ(retrieval_threshold(15), 0.1);
  EXPECT_DOUBLE_EQ(retrieval_threshold(30), 0.1);
}

}  // namespace
}  // namespace headlight::analysis
