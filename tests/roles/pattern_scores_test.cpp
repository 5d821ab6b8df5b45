#include "analysis/roles/pattern_scores.h"

#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlight::analysis {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Matrix {
  std::int64_t n;
  std::vector<float> values;
  AttentionMap map() const { return {n, values}; }
};

Matrix matrix(std::int64_t n, const std::function<double(std::int64_t i, std::int64_t j)>& entry) {
  Matrix out{n, std::vector<float>(static_cast<std::size_t>(n * n))};
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j <= i; ++j)
      out.values[static_cast<std::size_t>(i * n + j)] = static_cast<float>(entry(i, j));
  return out;
}

/// First token, then m distinct tokens twice.
std::vector<std::int32_t> repeated(std::int32_t m) {
  std::vector<std::int32_t> ids = {0};
  for (int copy = 0; copy < 2; ++copy)
    for (std::int32_t k = 0; k < m; ++k) ids.push_back(k + 1);
  return ids;
}

PatternScores scores_of(const Matrix& m, const std::vector<std::int32_t>& ids) {
  return pattern_scores(m.map(), pattern_targets(ids));
}

TEST(PatternTargets, DuplicatesAndWhatFollowsThem) {
  const auto targets = pattern_targets(std::vector<std::int32_t>{5, 7, 5, 5});
  EXPECT_THAT(targets.duplicate_i, ElementsAre(IsEmpty(), IsEmpty(), ElementsAre(0), ElementsAre(0, 2)));
  EXPECT_THAT(targets.induction_i, ElementsAre(IsEmpty(), IsEmpty(), ElementsAre(1), ElementsAre(1, 3)));
}

TEST(PatternScores, OneRow) {
  const double row[] = {0.1, 0.2, 0.3, 0.4};
  // Rows 1 and 2 look at themselves, so that means over rows 1..3 are (0 + 0 + x) / 3 or (1 + 1 + x) / 3.
  const auto m = matrix(4, [&](std::int64_t i, std::int64_t j) { return i == 3 ? row[j] : i == j ? 1.0 : 0.0; });
  const auto s = scores_of(m, {0, 1, 2, 3});
  EXPECT_NEAR(s.previous, 0.3 / 3, 1e-7);
  EXPECT_NEAR(s.current, 2.4 / 3, 1e-7);
  EXPECT_NEAR(s.first, 0.1 / 3, 1e-7);
  EXPECT_NEAR(s.broad, 1.2798542 / std::log(4.0) / 3, 1e-6);
  EXPECT_NEAR(s.distance, 1.0 / 3, 1e-7);
  EXPECT_TRUE(std::isnan(s.induction));
  EXPECT_TRUE(std::isnan(s.duplicate));
  EXPECT_TRUE(std::isnan(s.vertical));
}

TEST(PatternScores, PurePatterns) {
  const std::int32_t m = 24;
  const auto ids = repeated(m);
  const std::int64_t n = std::ssize(ids);
  const auto to = [&](const std::function<std::int64_t(std::int64_t)>& key) {
    return scores_of(matrix(n, [&](std::int64_t i, std::int64_t j) { return j == key(i) ? 1.0 : 0.0; }), ids);
  };
  const auto previous = to([](std::int64_t i) { return i == 0 ? 0 : i - 1; });
  EXPECT_NEAR(previous.previous, 1, 1e-9);
  EXPECT_NEAR(previous.first, 1.0 / 48, 1e-9);
  EXPECT_NEAR(previous.distance, 1, 1e-9);
  EXPECT_NEAR(previous.broad, 0, 1e-9);

  const auto current = to([](std::int64_t i) { return i; });
  EXPECT_NEAR(current.current, 1, 1e-9);
  EXPECT_EQ(current.duplicate, 0);
  EXPECT_EQ(current.duplicate_mass, 0);

  const auto sink = to([](std::int64_t) { return 0; });
  EXPECT_NEAR(sink.first, 1, 1e-9);
  EXPECT_NEAR(sink.first_rate, 1, 1e-9);
  EXPECT_NEAR(sink.distance, 24.5, 1e-9);
  EXPECT_NEAR(sink.vertical, 0, 1e-9);

  const auto offset = to([](std::int64_t i) { return i < 2 ? 0 : i - 2; });
  EXPECT_NEAR(offset.positional, 1, 1e-9);
  EXPECT_EQ(offset.positional_offset, 2);

  const auto induction = to([&](std::int64_t i) { return i > m ? i - m + 1 : 0; });
  EXPECT_NEAR(induction.induction, 1, 1e-9);
  EXPECT_NEAR(induction.induction_mass, 24.0 / 49, 1e-9);
  EXPECT_NEAR(induction.first, 0.5, 1e-9);

  const auto column = to([](std::int64_t i) { return i < 5 ? i : 5; });
  EXPECT_NEAR(column.vertical, 1, 1e-9);
}

TEST(PatternScores, HalfDuplicateHalfItself) {
  const std::int64_t m = 24;
  const auto ids = repeated(24);
  const auto s = scores_of(matrix(std::ssize(ids),
                                  [&](std::int64_t i, std::int64_t j) {
                                    if (i <= m) return i == j ? 1.0 : 0.0;
                                    return j == i || j == i - m ? 0.5 : 0.0;
                                  }),
                           ids);
  EXPECT_NEAR(s.duplicate, 1.0, 1e-9);
  EXPECT_NEAR(s.duplicate_mass, 1.0, 1e-9);
  EXPECT_NEAR(s.duplicate_stripe, 0.5, 1e-9);
  EXPECT_NEAR(s.current, 0.75, 1e-9);
  EXPECT_NEAR(s.distance, 6.0, 1e-9);
  EXPECT_NEAR(s.broad, 0.096, 5e-4);
}

TEST(PatternScores, UniformAttention) {
  const auto ids = repeated(24);
  const auto s = scores_of(
      matrix(std::ssize(ids), [](std::int64_t i, std::int64_t) { return 1.0 / static_cast<double>(i + 1); }), ids);
  EXPECT_NEAR(s.broad, 1.0, 1e-6);
  EXPECT_NEAR(s.previous, 0.0725, 5e-5);
  EXPECT_NEAR(s.first, 0.0725, 5e-5);
  EXPECT_NEAR(s.duplicate_mass, 0.0149, 5e-5);
  EXPECT_NEAR(s.duplicate_stripe, 0.0276, 5e-5);
  EXPECT_NEAR(s.induction, 0.0276, 5e-5);
  EXPECT_NEAR(s.induction_mass, 0.0135, 5e-5);
  EXPECT_NEAR(s.distance, 12.25, 1e-4);
}

TEST(PatternScores, RowsWithoutMassCountNowhere) {
  const auto ids = repeated(4);
  const auto s =
      scores_of(matrix(9, [](std::int64_t i, std::int64_t j) { return i % 2 == 1 ? 0.0
                                                                      : j == i   ? 1.0
                                                                                 : 0.0; }), ids);
  EXPECT_NEAR(s.current, 1.0, 1e-9);
  const auto one = scores_of(matrix(1, [](std::int64_t, std::int64_t) { return 1.0; }), {3});
  EXPECT_TRUE(std::isnan(one.previous) && std::isnan(one.broad) && std::isnan(one.positional));
}

}  // namespace
}  // namespace headlight::analysis
