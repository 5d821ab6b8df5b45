#include "core/engine/hidden_facts.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/engine/topk_tap.h"

namespace headlight::engine {
namespace {

TEST(MedianAbs, IsExactForAnySize) {
  ThreadPool pool(2);
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const std::size_t count : {1u, 2u, 3u, 1000u, 1001u, 600000u}) {
    std::vector<float> x(count), sorted(count);
    for (float& v : x) v = normal(random) * 3.0f;
    std::transform(x.begin(), x.end(), sorted.begin(), [](float v) { return std::abs(v); });
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(median_abs(pool, x.data(), static_cast<std::int64_t>(count)), sorted[(count - 1) / 2]) << count;
  }
  std::vector<float> misleading(600000, 1.0f);  // every element that a sample would take is small
  for (std::size_t k = 0; k < 4096; ++k) misleading[k * misleading.size() / 4096] = 0.5f;
  EXPECT_EQ(median_abs(pool, misleading.data(), std::ssize(misleading)), 1.0f);
  const std::vector<float> zeros(10, -0.0f);
  EXPECT_EQ(median_abs(pool, zeros.data(), 10), 0.0f);
}

TEST(HiddenFacts, OfAKnownRow) {
  ThreadPool pool(1);
  const std::vector<float> x = {3.0f, -4.0f, 0.0f, 0.0f, 0.0f, 2.0f, 0.0f, 0.0f};  // two rows of four
  HiddenFacts facts(2);
  hidden_facts(pool, x.data(), 2, 4, x.data(), facts, 0);
  EXPECT_FLOAT_EQ(facts.norm_l2[0], 5.0f);
  EXPECT_FLOAT_EQ(facts.absmax[0], 4.0f);
  EXPECT_EQ(facts.absmax_dim[0], 1);
  EXPECT_FLOAT_EQ(facts.mean[0], -0.25f);
  EXPECT_FLOAT_EQ(facts.rms[0], 2.5f);
  EXPECT_FLOAT_EQ(facts.cos_first[0], 1.0f);
  EXPECT_FLOAT_EQ(facts.cos_first[1], -0.8f);
}

TEST(FindMassive, NeedsBothTheAbsoluteAndTheRelativeThreshold) {
  std::vector<float> x(3000, 0.1f);
  x[1500] = -150.0f;  // token 1 of three, dim 500
  x[2500] = 99.0f;    // below 100
  const float absmax[] = {0.1f, 150.0f, 99.0f};
  std::vector<capture::MassiveActivation> found;
  find_massive(x.data(), 3, 1000, 7, 4, 0.1f, absmax, found);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, 4);
  EXPECT_EQ(found[0].token, 8);
  EXPECT_EQ(found[0].dim, 500);
  EXPECT_EQ(found[0].value, -150.0f);
  find_massive(x.data(), 3, 1000, 7, 4, 0.2f, absmax, found);  // 150 < 1000 x 0.2
  EXPECT_EQ(found.size(), 1u);
}

TEST(TopkTap, KeepsTheLargestInKeyOrderWithTheirRemainder) {
  TopkTap tap({2, 9}, 2, 3);
  EXPECT_TRUE(tap.wants(0, 9));
  EXPECT_FALSE(tap.wants(1, 3));
  const std::vector<float> row = {0.1f, 0.3f, 0.1f, 0.25f, 0.25f};
  tap.row(1, 9, {4, 9}, row);
  const auto& rows = tap.rows(5);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[3].layer, 5);
  EXPECT_EQ(rows[3].head, 1);
  EXPECT_EQ(rows[3].query, 9);
  EXPECT_EQ(rows[3].keys, (std::vector<std::int32_t>{5, 7, 8}));
  EXPECT_EQ(rows[3].values, (std::vector<float>{0.3f, 0.25f, 0.25f}));
  EXPECT_NEAR(rows[3].remainder, 0.2f, 1e-6);
}

TEST(TopkTap, FindsTheEntriesOfLongRowsWithTies) {
  std::mt19937 random(11);
  for (const int entries : {1, 32, 64, 65}) {
    std::vector<float> row(1000);
    for (float& a : row) a = static_cast<float>(random() % 50) / 1000.0f;  // many ties
    TopkTap tap({999}, 1, entries);
    tap.row(0, 999, {0, 1000}, row);
    std::vector<std::int32_t> order(1000);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(entries));
    std::sort(order.begin(), order.end());
    EXPECT_EQ(tap.rows(0)[0].keys, order) << entries;
    double rest = std::accumulate(row.begin(), row.end(), 0.0);
    for (const std::int32_t j : order) rest -= static_cast<double>(row[static_cast<std::size_t>(j)]);
    EXPECT_NEAR(tap.rows(0)[0].remainder, rest, 1e-5);
  }
}

TEST(TopkTap, ARowShorterThanItsEntriesIsWhole) {
  TopkTap tap({0}, 1, 8);
  tap.row(0, 0, {0, 1}, std::vector<float>{1.0f});
  EXPECT_EQ(tap.rows(0)[0].keys, std::vector<std::int32_t>{0});
  EXPECT_EQ(tap.rows(0)[0].remainder, 0.0f);
}

}  // namespace
}  // namespace headlight::engine
