// Distances between captures, where two runs part, and drift between head plans.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/compare/head_distance.h"
#include "analysis/compare/plan_drift.h"
#include "base/error.h"
#include "tests/analysis/planted_capture.h"

namespace headlight::analysis {
namespace {

TEST(HeadDistance, IsTheTotalVariationOfPlantedMaps) {
  PlantedRecord one(2, 2, 8), two(2, 2, 8);
  two.look_back(1, 0, 1, 0.5);  // L1H0 moves half of each row from the first key to the previous one
  two.set(1, 1, 7, 3, 0.25);    // L1H1 a quarter of its last row
  capture::MemoryCapture a, b;
  write_capture({one}, a);
  write_capture({two}, b);
  ThreadPool pool(2);
  const auto found = head_distances(a, b, {}, pool);
  EXPECT_EQ(found.maps_missing, "");
  ASSERT_EQ(found.heads.size(), 4u);
  EXPECT_NEAR(found.heads[0].tv, 0.0, 1e-6);
  EXPECT_NEAR(found.heads[2].tv, 0.5 * 6 / 8, 1e-5);  // rows 0 and 1 look at the first key either way
  EXPECT_NEAR(found.heads[2].max_abs, 0.5, 1e-5);
  EXPECT_NEAR(found.heads[3].tv, 0.25 / 8, 1e-5);
  EXPECT_GT(found.heads[2].entropy, 0.4);
  EXPECT_LT(found.heads[2].received0, -0.2);
  const double js = 0.5 * (1.0 * std::log(1.0 / 0.75) + 0.5 * std::log(0.5 / 0.75) + 0.5 * std::log(0.5 / 0.25));
  EXPECT_NEAR(found.heads[2].js, js * 6 / 8, 1e-5);
}

TEST(HeadDistance, NamesTheFirstLayerAndItsFarthestHead) {
  const std::vector<HeadDistance> heads{{.layer = 0, .head = 0, .tv = 0.01},
                                        {.layer = 1, .head = 0, .tv = 0.06},
                                        {.layer = 1, .head = 1, .tv = 0.2},
                                        {.layer = 2, .head = 0, .tv = 0.9},
                                        {.layer = 0, .head = 1}};
  const auto first = first_departure(heads, "tv", 0.05);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->layer, 1);
  EXPECT_EQ(first->head, 1);
  EXPECT_FALSE(first_departure(heads, "tv", 0.9));
}

TEST(HeadDistance, SortsByWhatWasCompared) {
  std::vector<HeadDistance> heads{{.layer = 0, .head = 0, .tv = 0.1, .entropy = 0.2},
                                  {.layer = 0, .head = 1},
                                  {.layer = 1, .head = 0, .tv = 0.3, .entropy = -0.5}};
  EXPECT_EQ(sort_by_distance(heads, "tv"), "tv");
  EXPECT_EQ(heads[0].layer, 1);
  EXPECT_EQ(heads[2].head, 1) << "without a map";
  for (auto& head : heads) head.tv = kUndefined;
  EXPECT_EQ(sort_by_distance(heads, "tv"), "entropy");
  EXPECT_EQ(heads[0].entropy, -0.5) << "by size, not by sign";
}

TEST(HeadDistance, RecordsMayHaveOtherNumbers) {
  const PlantedRecord one(1, 1, 8);
  PlantedRecord other(1, 1, 8);
  other.look_back(0, 0, 1, 0.5);
  capture::MemoryCapture a, b;
  write_capture({one}, a);
  write_capture({other, one}, b);
  ThreadPool pool(1);
  EXPECT_GT(head_distances(a, b, {}, pool).heads[0].tv, 0.1);
  EXPECT_EQ(head_distances(a, b, {.record = 0, .record_b = 1}, pool).heads[0].tv, 0.0);
}

TEST(HeadDistance, OtherTokensLeaveStatisticsOnly) {
  PlantedRecord one(1, 1, 4), two(1, 1, 5);
  capture::MemoryCapture a, b;
  write_capture({one}, a);
  write_capture({two}, b);
  ThreadPool pool(1);
  const auto found = head_distances(a, b, {}, pool);
  EXPECT_THAT(found.maps_missing, ::testing::HasSubstr("the tokens differ"));
  EXPECT_TRUE(std::isnan(found.heads[0].tv));
}

TEST(HeadDistance, RefusesOtherShapes) {
  capture::MemoryCapture a, b;
  write_capture({PlantedRecord(1, 1, 4)}, a);
  write_capture({PlantedRecord(1, 2, 4)}, b);
  ThreadPool pool(1);
  EXPECT_THROW(head_distances(a, b, {}, pool), Error);
}

heads::Headplan plan_of(std::vector<double> scores, std::vector<std::string> primary) {
  heads::Headplan plan;
  plan.model.grid = {1, static_cast<int>(scores.size()), 1};
  for (const auto& role : primary)
    plan.labels_lh.push_back(role.empty() ? std::vector<std::string>{} : std::vector{role});
  plan.primary_lh = std::move(primary);
  plan.put_score({.id = "retrieval", .value = std::move(scores)});
  return plan;
}

TEST(PlanDrift, ComparesScoresAndRoles) {
  const auto a = plan_of({0.9, 0.1, 0.2, NAN}, {"retrieval", "", "sink", ""});
  const auto b = plan_of({0.3, 0.15, 0.4, 0.5}, {"", "", "sink", "induction"});
  const auto drift = plan_drift(a, b);
  ASSERT_EQ(drift.scores.size(), 1u);
  const auto& score = drift.scores[0];
  EXPECT_EQ(score.heads, 3);
  EXPECT_NEAR(score.rank_correlation, 0.5, 1e-12);  // ranks 3 1 2 and 2 1 3
  EXPECT_NEAR(score.mean_abs, (0.6 + 0.05 + 0.2) / 3, 1e-12);
  EXPECT_EQ(score.most_moved, (heads::HeadId{0, 0}));
  EXPECT_EQ(score.top_overlap, 0.0);
  EXPECT_EQ(drift.labelled, 3);
  EXPECT_EQ(drift.agreement, 0.5);
  ASSERT_EQ(drift.changes.size(), 2u);
  EXPECT_EQ(drift.changes[0].from, "retrieval");
  EXPECT_EQ(drift.changes[0].to, "");
  EXPECT_EQ(drift.changes[1].head, (heads::HeadId{0, 3}));
}

TEST(PlanDrift, APlanDoesNotDriftFromItself) {
  const auto a = plan_of({0.9, 0.1, 0.2}, {"retrieval", "", "sink"});
  const auto drift = plan_drift(a, a);
  EXPECT_EQ(drift.scores[0].rank_correlation, 1.0);
  EXPECT_EQ(drift.scores[0].mean_abs, 0.0);
  EXPECT_EQ(drift.scores[0].top_overlap, 1.0);
  EXPECT_TRUE(drift.changes.empty());
}

TEST(PlanDrift, RefusesOtherShapes) {
  EXPECT_THROW(plan_drift(plan_of({1, 2}, {}), plan_of({1, 2, 3}, {})), Error);
}

}  // namespace
}  // namespace headlight::analysis
