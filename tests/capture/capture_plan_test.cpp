#include "core/capture/capture_plan.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "base/json.h"

namespace headlight::capture {
namespace {

TEST(CapturePlan, BlockEdgeIsAPowerOfTwo) {
  EXPECT_EQ(overview_block_edge(1), 1);
  EXPECT_EQ(overview_block_edge(256), 1);
  EXPECT_EQ(overview_block_edge(257), 2);
  EXPECT_EQ(overview_block_edge(4096), 16);
  EXPECT_EQ(overview_block_edge(4097), 32);
  EXPECT_EQ(overview_block_edge(131072), 512);
}

TEST(CapturePlan, TopkRowsAreAscendingDistinctAndEndWithTheLast) {
  const CapturePlan plan;
  for (const std::int64_t rows : {0, 1, 2, 31, 32, 33, 63, 64, 65, 100, 1000, 4096}) {
    const auto chosen = topk_row_positions(plan, rows);
    EXPECT_EQ(static_cast<std::int64_t>(chosen.size()), std::min<std::int64_t>(rows, 64)) << rows;
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end())) << rows;
    EXPECT_EQ(std::set<std::int64_t>(chosen.begin(), chosen.end()).size(), chosen.size()) << rows;
    for (std::int64_t n = 0; n < std::min<std::int64_t>(rows, 32); ++n)
      EXPECT_TRUE(std::binary_search(chosen.begin(), chosen.end(), rows - 1 - n)) << rows;
  }
  CapturePlan none;
  none.topk = 0;
  EXPECT_TRUE(topk_row_positions(none, 100).empty());
}

TEST(CapturePlan, JsonHoldsEveryField) {
  CapturePlan plan;
  plan.layers = {0, 7};
  plan.heads_lh = {1, 0, 1, 0, 0, 1};
  const Json json = parse_json(to_json_text(plan));
  EXPECT_EQ(json_string(json, "level"), "replay");
  EXPECT_EQ(json["layers"], Json::parse("[0, 7]"));
  EXPECT_EQ(json["heads"], Json::parse(R"(["101", "001"])"));
  EXPECT_EQ(json_integer(json, "row_end"), -1);
  EXPECT_EQ(json_string(json, "replay_dtype"), "f32");
  EXPECT_EQ(json_string(json, "logits"), "last");
  EXPECT_EQ(json_integer(json, "local_window"), 256);
  EXPECT_TRUE(json_bool(json, "store_values"));
  EXPECT_EQ(json.size(), 15u);
}

}  // namespace
}  // namespace headlight::capture
