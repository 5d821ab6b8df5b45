#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "app/workbench/capture_document.h"
#include "app/workbench/dashboard.h"
#include "app/workbench/findings_list.h"
#include "app/workbench/live_session.h"
#include "app/workbench/map_tiles.h"
#include "base/error.h"
#include "core/capture/memory_capture.h"
#include "tests/workbench/planted_host.h"

namespace headlight::workbench {
namespace {

using testing_support::PlantedHost;

struct PlantedDocument : PlantedHost {
  explicit PlantedDocument(int length = 24) {
    LiveSession live(*host);
    document = std::make_shared<CaptureDocument>(live.run(prompt(length), {}).base->capture, "", "run");
  }
  std::shared_ptr<const CaptureDocument> document;
};

TEST(CaptureDocument, ShowsWhatTheHeadsAre) {
  const PlantedDocument planted;
  const CaptureDocument& document = *planted.document;
  EXPECT_EQ(document.num_tokens(), 24);
  EXPECT_EQ(document.token_texts()[1], "#2");  // no tokenizer: ids
  EXPECT_GT(document.statistic("received0", {0, 2}), 0.9f);
  EXPECT_LT(document.statistic("received0", {0, 1}), 0.2f);
  EXPECT_TRUE(std::isnan(document.statistic("received0", {9, 0})));
  EXPECT_TRUE(document.has_map({1, 7}));
  EXPECT_FALSE(document.has_map({2, 0}));
  EXPECT_EQ(document.find_statistic("jmax"), nullptr) << "a mean of positions means nothing";
  EXPECT_GT(document.received()[0], document.received()[12]);
}

TEST(CaptureDocument, RowsAndColumnsAreThoseOfTheMap) {
  const PlantedDocument planted;
  ThreadPool pool(1);
  const HeadId previous{0, 0};
  const AttentionLine row = planted.document->row(previous, 10, pool),
                      column = planted.document->column(previous, 9, pool);
  EXPECT_TRUE(row.exact && column.exact);
  EXPECT_GT(row.attn[9], 0.9f);
  EXPECT_EQ(row.attn[11], 0.0f);
  EXPECT_EQ(column.attn[10], row.attn[9]);
}

TEST(CaptureDocument, LabelsUseSignsThatFontsHave) {
  EXPECT_EQ(token_label("a\n\n"), "a\u21B5\u21B5");
  EXPECT_EQ(token_label(" b"), "\u00B7b");
}

TEST(CaptureDocument, ExpressionsSelectHeads) {
  const PlantedDocument planted;
  const auto& document = *planted.document;
  EXPECT_EQ(
      heads::to_text(document.grid(), document.select("top(received0, 1) | L1H0")).find("L1H0") != std::string::npos,
      true);
  EXPECT_EQ(heads::heads_of(document.grid(), document.select("L0H2 & received0>0.9")).size(), 1u);
  EXPECT_THROW(document.select("entropie<1"), Error);
}

TEST(MapTiles, LevelsSuitTheZoom) {
  EXPECT_EQ(top_level(256), 0);
  EXPECT_EQ(top_level(257), 1);
  EXPECT_EQ(top_level(131072), 9);
  EXPECT_EQ(level_for(3.0, 131072), 0);
  EXPECT_EQ(level_for(1.0, 131072), 0);
  EXPECT_EQ(level_for(0.5, 131072), 1);
  EXPECT_EQ(level_for(0.26, 131072), 1);
  EXPECT_EQ(level_for(1e-6, 131072), 9);
}

TEST(MapTiles, CoverTheViewCentreFirstAndTheWholeMapBeforeAll) {
  const TileKey like{.head = {3, 1}};
  const auto keys = tiles_of_view(like, {1000, 1000, 1800, 1800}, 1.0, 131072, false);
  EXPECT_EQ(keys[0].level, 9);
  EXPECT_EQ(std::set<TileKey>(keys.begin(), keys.end()).size(), keys.size());
  ASSERT_EQ(keys.size(), 1u + 5 * 5);  // tiles 3..7 of 256 tokens
  EXPECT_EQ(keys[1].row, 5);
  EXPECT_EQ(keys[1].col, 5);
  for (const auto& key : tiles_of_view(like, {0, 0, 2000, 2000}, 1.0, 131072, true)) EXPECT_LE(key.col, key.row);
  EXPECT_EQ(tiles_of_view(like, {0, 0, 10, 10}, 40.0, 200, true).size(), 1u) << "a short text is one tile";
}

TEST(MapTiles, ClippedTilesAreExact) {
  const PlantedDocument planted(300);
  ThreadPool pool(1);
  const TileKey key{.head = {0, 0}, .level = 0, .row = 1, .col = 1};
  const MapTile tile = read_tile(key, *planted.document, nullptr, pool);
  EXPECT_EQ(tile.pool, 1);
  EXPECT_EQ(tile.rows, 300 - 256);
  const AttentionLine row = planted.document->row({0, 0}, 290, pool);
  for (std::int64_t x = 0; x < tile.cols; ++x)
    EXPECT_EQ(tile.attn_yx[static_cast<std::size_t>((290 - 256) * tile.cols + x)],
              row.attn[static_cast<std::size_t>(256 + x)]);
}

TEST(MapTiles, TheDifferenceOfEqualRunsIsZero) {
  const PlantedDocument planted(300);
  ThreadPool pool(1);
  for (const int level : {0, 1}) {
    const TileKey key{.head = {1, 0}, .side = MapSide::difference, .level = level};
    const MapTile tile = read_tile(key, *planted.document, planted.document.get(), pool);
    for (const float d : tile.attn_yx) ASSERT_EQ(d, 0.0f);
  }
}

TEST(MapTiles, LongChangedTextsAreExactToo) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  intervention::Intervention zero;
  zero.id = zero.method = "zero-tuning";
  zero.params["gamma"] = 0.25;
  const auto result = live.run(planted.prompt(300), {zero});
  const CaptureDocument base(result.base->capture, "", "before"), changed(result.changed->capture, "", "after");
  ThreadPool pool(1);
  const TileKey key{.head = {0, 2}, .side = MapSide::difference, .row = 1};
  const MapTile tile = read_tile(key, base, &changed, pool),
                before = read_tile({.head = {0, 2}, .row = 1}, base, nullptr, pool);
  EXPECT_EQ(tile.pool, 1);
  EXPECT_EQ(tile.source, capture::MapSource::replay);
  const auto at = static_cast<std::size_t>((290 - 256) * tile.cols);               // row 290, key 0
  const float a = before.attn_yx[at], after = 0.25f * a / (1.0f - a + 0.25f * a);  // scaled and made to sum to 1 again
  EXPECT_GT(a, 0.9f);
  EXPECT_NEAR(tile.attn_yx[at], after - a, 1e-5f);
  const AttentionLine row = changed.row({0, 2}, 290, pool);
  EXPECT_TRUE(row.exact);
  double sum = 0.0;
  for (const float weight : row.attn) sum += weight;
  EXPECT_NEAR(sum, 1.0, 1e-4);
}

struct CountingJob final : JobContext {
  std::stop_source source;
  int reports = 0;
  std::stop_token stop() const override { return source.get_token(); }
  void progress(std::string_view, std::int64_t, std::int64_t) override { ++reports; }
};

TEST(FindingsList, SaysWhatTheHeadsDoAndLeadsToThem) {
  const PlantedDocument planted(64);
  ThreadPool pool(1);
  CountingJob job;
  const FindingsList list = find_in(*planted.document, pool, job);
  EXPECT_GT(job.reports, 5);
  const auto previous = std::find_if(list.findings.begin(), list.findings.end(),
                                     [](const Finding& one) { return one.rule == "previous-token-heads"; });
  ASSERT_NE(previous, list.findings.end());
  EXPECT_FALSE(previous->nothing_found);
  const Selection now{.head = HeadId{1, 7}, .query = 30, .key = 4};
  const Selection shown = evidence_selection(*previous, *planted.document, now);
  EXPECT_EQ(shown.head, (HeadId{0, 0}));
  EXPECT_EQ(shown.key, 4) << "no token is named: the cell stays";
  EXPECT_EQ(evidence_metric(*previous, *planted.document), "off1");
  EXPECT_EQ(evidence_selection(*previous, *planted.document, now, 99).head, now.head);
  Finding token;
  token.evidence.tokens = {7};
  EXPECT_EQ(evidence_selection(token, *planted.document, now).key, 7);
  job.source.request_stop();
  EXPECT_THROW(find_in(*planted.document, pool, job), Error);
}

TEST(Dashboard, CurvesAreMeansOfTheHeadsOfALayer) {
  const PlantedDocument planted;
  const CaptureDocument& document = *planted.document;
  const Measure& entropy = dashboard_measures()[1];
  EXPECT_EQ(entropy.unit, "bit");
  const LayerCurves curves = layer_curves(document, entropy);
  ASSERT_EQ(curves.mean_l.size(), static_cast<std::size_t>(document.header().model.num_layers));
  double sum = 0.0;
  float largest = 0.0f;
  for (int head = 0; head < document.num_heads(); ++head) {
    const double bits = document.statistic("entropy", {1, head}) / std::log(2.0);
    sum += bits;
    largest = std::max(largest, static_cast<float>(bits));
  }
  EXPECT_NEAR(curves.mean_l[1], sum / document.num_heads(), 1e-5);
  EXPECT_NEAR(curves.high_l[1], largest, 1e-5);
  EXPECT_TRUE(layer_curves(document, {"gate", "", "", 1.0}).mean_l.size() == 2 &&
              std::isnan(layer_curves(document, {"gate", "", "", 1.0}).mean_l[0]));
}

TEST(Dashboard, ListsTheTokensThatAreLookedAtMost) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  intervention::Intervention zero;
  zero.id = zero.method = "zero-tuning";
  zero.params["gamma"] = 0.0;
  const auto result = live.run(planted.prompt(40), {zero});
  const CaptureDocument base(result.base->capture, "", "before"), changed(result.changed->capture, "", "after");
  const auto rows = sink_rows(base, &changed, false, 5);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].position, 0);
  EXPECT_EQ(rows[0].base, base.received()[0]);
  EXPECT_EQ(rows[0].changed, changed.received()[0]);
  EXPECT_LT(*rows[0].changed, rows[0].base);
  EXPECT_GT(rows[0].largest, 0.9f);
  EXPECT_NEAR(rows[0].largest, base.statistic("received0", rows[0].strongest), 1e-6);
  int above = 0;
  for (int layer = 0; layer < 2; ++layer)
    for (int head = 0; head < base.num_heads(); ++head) above += base.statistic("received0", {layer, head}) >= 0.3f;
  EXPECT_EQ(rows[0].heads_above, above);
  for (const SinkRow& row : sink_rows(base, nullptr, false, 100)) {
    EXPECT_LE(row.position, 40 - 8) << "few rows see the last tokens";
    EXPECT_FALSE(row.changed.has_value());
  }
  const CaptureDocument other(live.run(planted.prompt(39), {}).base->capture, "", "other");
  EXPECT_FALSE(same_tokens(base, other));
  EXPECT_FALSE(sink_rows(base, &other, true, 5)[0].changed.has_value()) << "positions of another text";
}

TEST(TileCache, ForgetsWhatWasUsedLongestAgo) {
  const auto tile = [] {
    auto made = std::make_shared<MapTile>();
    made->attn_yx = Buffer<float>(100, 0.0f);
    return made;
  };
  TileCache cache(1000);
  for (int n = 0; n < 3; ++n) {
    cache.put({.level = n}, tile());
    cache.find({.level = 0});
  }
  EXPECT_LE(cache.bytes(), 1000u);
  EXPECT_NE(cache.find({.level = 0}), nullptr);
  EXPECT_EQ(cache.find({.level = 1}), nullptr);
  EXPECT_NE(cache.find({.level = 2}), nullptr);
  cache.clear();
  EXPECT_EQ(cache.bytes(), 0u);
}

}  // namespace
}  // namespace headlight::workbench
