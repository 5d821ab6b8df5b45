#include "analysis/roles/ablation_study.h"

#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace headlight::analysis {
namespace {

using heads::HeadId;

/// Performance is the number of heads that are left among L0H0, L0H1, L1H0.
class Toy final : public AblationTask {
 public:
  TaskResult evaluate(std::span<const HeadId> removed) override {
    double left = 3;
    for (const HeadId id : removed) left -= id == HeadId{0, 0} || id == HeadId{0, 1} || id == HeadId{1, 0};
    sets.emplace_back(removed.begin(), removed.end());
    return {left, 0};
  }
  std::size_t num_samples() const override { return 1; }
  Json describe() const override { return {}; }
  std::vector<std::vector<HeadId>> sets;
};

TEST(AblationStudy, TopHeadsAgainstOthersOfTheirLayers) {
  const heads::HeadGrid grid{.num_layers = 3, .num_heads = 10, .num_kv_heads = 5};
  std::vector<double> score(30, 0.0);
  score[0] = 0.9, score[1] = 0.8, score[10] = 0.7, score[11] = 0.1;
  Toy task;
  const auto study =
      run_ablation_study(task, grid, score, {.shares = {0.1}, .draws = 12, .excluded_share = 0.14}, 0, {});
  EXPECT_EQ(study.whole.performance, 3);
  ASSERT_EQ(study.points.size(), 1u);
  const AblationPoint& point = study.points[0];
  EXPECT_THAT(point.top, ::testing::ElementsAre(HeadId{0, 0}, HeadId{0, 1}, HeadId{1, 0}));
  EXPECT_EQ(point.with_top.performance, 0);
  EXPECT_EQ(point.with_random.size(), 12u);
  EXPECT_DOUBLE_EQ(point.rank_p(), 1.0 / 13);
  for (std::size_t k = 2; k < task.sets.size(); ++k) {
    std::map<int, int> per_layer;
    for (const HeadId id : task.sets[k]) {
      ++per_layer[id.layer];
      EXPECT_THAT((std::vector<HeadId>{{0, 0}, {0, 1}, {1, 0}, {1, 1}}), ::testing::Not(::testing::Contains(id)));
    }
    EXPECT_EQ(per_layer, (std::map<int, int>{{0, 2}, {1, 1}}));
  }
  EXPECT_NE(task.sets[2], task.sets[3]);
}

TEST(AblationStudy, AFullLayerBorrowsFromOthers) {
  const heads::HeadGrid grid{.num_layers = 3, .num_heads = 2, .num_kv_heads = 1};
  SplitMix64 random(1);
  const std::vector<HeadId> top = {{1, 0}, {1, 1}};
  const auto drawn = matched_draw(grid, top, {0, 0, 1, 1, 0, 0}, random);
  EXPECT_EQ(drawn.size(), 2u);
  for (const HeadId id : drawn) EXPECT_NE(id.layer, 1);
  testing_support::expect_refused(
      [&] {
        matched_draw(grid, top, {1, 1, 1, 1, 1, 0}, random);
      },
      Errc::invalid_argument, {"cannot be drawn"});
}

}  // namespace
}  // namespace headlight::analysis
