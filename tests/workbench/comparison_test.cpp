#include "app/workbench/comparison.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/workbench/command_line.h"
#include "app/workbench/live_session.h"
#include "app/workbench/map_tiles.h"
#include "app/workbench/prediction.h"
#include "app/workbench/selection_lines.h"
#include "base/error.h"
#include "tests/workbench/planted_host.h"

namespace headlight::workbench {
namespace {

using testing_support::PlantedHost;

struct SilentJob final : JobContext {
  std::stop_token stop() const override { return {}; }
  void progress(std::string_view, std::int64_t, std::int64_t) override {}
};

/// A run under zero-tuning (A) and the plain run (B).
struct TwoRuns : PlantedHost {
  explicit TwoRuns(int length = 24) {
    intervention::Intervention zero;
    zero.id = zero.method = "zero-tuning";
    zero.params["gamma"] = 0.0;
    result = live.run(prompt(length), {zero});
    a = std::make_shared<CaptureDocument>(result.changed->capture, "", "A");
    b = std::make_shared<CaptureDocument>(result.base->capture, "", "B");
  }
  LiveSession live{*host};
  LiveResult result;
  std::shared_ptr<const CaptureDocument> a, b;
  ThreadPool pool{1};
  SilentJob job;
};

TEST(Comparison, HasTheDistancesOfTheCommandLine) {
  TwoRuns runs;
  const Comparison found = compare_documents(*runs.a, *runs.b, runs.pool, runs.job);
  const auto plain = analysis::head_distances(runs.b->view(), runs.a->view(), {}, runs.pool);
  ASSERT_EQ(found.heads.size(), plain.heads.size());
  EXPECT_EQ(found.sorted_by, "tv");
  EXPECT_EQ(found.maps_missing, "");
  for (std::size_t n = 1; n < found.heads.size(); ++n) EXPECT_GE(found.heads[n - 1].tv, found.heads[n].tv);
  const auto sink = std::find_if(found.heads.begin(), found.heads.end(),
                                 [](const HeadDistance& d) { return d.layer == 0 && d.head == 2; });
  ASSERT_NE(sink, found.heads.end());
  EXPECT_GT(sink->tv, 0.8);
  EXPECT_LT(sink->received0, -0.8) << "A - B: A looks away from the first token";
  EXPECT_NEAR(sink->received0, runs.a->statistic("received0", {0, 2}) - runs.b->statistic("received0", {0, 2}), 1e-6);
  ASSERT_TRUE(found.departure);
  EXPECT_EQ(found.departure->layer, 0);

  const Comparison same = compare_documents(*runs.b, *runs.b, runs.pool, runs.job);
  EXPECT_EQ(same.heads.front().tv, 0.0);
  EXPECT_FALSE(same.departure);
}

TEST(Comparison, OfDifferentTextsIsOfStatistics) {
  TwoRuns runs;
  const CaptureDocument longer(runs.live.run(runs.prompt(30), {}).base->capture, "", "longer");
  EXPECT_FALSE(same_tokens(*runs.b, longer));
  const Comparison found = compare_documents(longer, *runs.b, runs.pool, runs.job);
  EXPECT_THAT(found.maps_missing, testing::HasSubstr("tokens differ"));
  EXPECT_EQ(found.sorted_by, "entropy");
  EXPECT_THAT(differing_facts(longer, *runs.b), testing::ElementsAre("tokens: 30 / 24"));
  EXPECT_THAT(differing_facts(*runs.a, *runs.b), testing::IsEmpty());
  const TileKey key{.head = {0, 2}, .side = MapSide::difference};
  EXPECT_THROW(read_tile(key, *runs.b, &longer, runs.pool), Error);
  const Selection chosen{.head = HeadId{0, 2}, .query = 5, .key = 0};
  EXPECT_FALSE(lines_of(chosen, MapSide::difference, *runs.b, &longer, runs.pool).row);
  EXPECT_TRUE(lines_of(chosen, MapSide::changed, *runs.b, &longer, runs.pool).row);
  EXPECT_EQ(comparison_problem(longer, *runs.b), "");
}

TEST(Comparison, NextTokensComeFromTheCaptures) {
  TwoRuns runs;
  const auto two = predict(*runs.b, runs.a.get(), runs.host.get());
  ASSERT_TRUE(two);
  EXPECT_TRUE(two->two_sides);
  EXPECT_EQ(two->next.kl, runs.result.next.kl) << "the logits of the runs";
  EXPECT_EQ(two->texts, runs.result.token_texts);
  const auto one = predict(*runs.b, nullptr, nullptr);
  ASSERT_TRUE(one);
  EXPECT_FALSE(one->two_sides);
  EXPECT_EQ(one->next.kl, 0.0);
  EXPECT_EQ(one->texts[0].front(), '#') << "no model, no text";
  EXPECT_EQ(prediction_of(runs.result).next.kl, two->next.kl);
}

/// What a run at level summary leaves of the same text: block maxima.
TEST(Comparison, ExactMapsMeetBlocks) {
  TwoRuns runs(600);
  RunRequest request;
  request.inputs.push_back(
      {.ids = token_ids_of(runs.prompt(600).record), .generate = 0, .targets = {}, .logit_rows = {}});
  const auto& model = runs.host->info();
  request.plan = capture::plan_of_all_heads(model.num_layers, model.num_heads, capture::CaptureLevel::summary);
  const CaptureDocument blocks(runs.host->runner().run(request).capture, "", "blocks");
  const TileKey key{.head = {0, 2}, .side = MapSide::difference, .level = 0, .row = 1};
  for (const bool blocks_are_base : {true, false}) {
    const CaptureDocument &base = blocks_are_base ? blocks : *runs.b, &changed = blocks_are_base ? *runs.b : blocks;
    const MapTile tile = read_tile(key, base, &changed, runs.pool);
    EXPECT_EQ(tile.pool, 4);  // 600 tokens in at most 256 blocks
    for (const float d : tile.attn_yx) ASSERT_NEAR(d, 0.0f, 2e-3f) << "the same map, up to the code of stored maxima";
  }
}

TEST(Comparison, IsACommandToo) {
  EXPECT_EQ(command_of_comparison("a.h5", "b c.h5"), "headlight compare 'b c.h5' a.h5\n");
}

}  // namespace
}  // namespace headlight::workbench
