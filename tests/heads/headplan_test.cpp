#include "core/heads/headplan.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::heads {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kText = R"({
  "schema": "headlight.headplan/1",
  "model": {"name": "tiny", "arch": "llama", "L": 2, "H": 2, "G": 1, "head_dim": 8, "config_sha256": "ab",
            "tokenizer_sha256": "cd", "revision": "main"},
  "scores": {
    "retrieval": {"granularity": "q", "value": [[0.1, null], [0.30000000000000004, 1]], "n": 40, "reduce": "mean",
                  "method": "retrieval", "version": 2, "params": {"depth": 0.5}, "data_sha256": "ef", "seed": 7,
                  "samples": [1, 2]},
    "gate": {"granularity": "kv", "value": [[0.25], [0.75]], "ci_low": [[0.2], [0.7]], "ci_high": [[0.3], [null]],
             "n": 1, "reduce": "", "method": "duo", "version": 1, "params": {}, "data_sha256": "", "seed": 0}
  },
  "roles": {
    "primary": [["sink", null], ["retrieval", null]],
    "labels": [[["sink"], []], [["induction", "retrieval"], []]],
    "overrides": [{"head": "L0H1", "labels": ["previous"], "note": "seen by eye"}],
    "method": "rules"
  },
  "sets": {"mine": ["L1H0", "L0H1"]},
  "gates": [[0.25], [0.75]],
  "window": {"sink": 64, "recent": 256},
  "someone_elses": {"key": [1, {"deep": true}]}
})";

TEST(Headplan, ReadsWhatIsThere) {
  const Headplan plan = headplan_from_json(parse_json(kText));
  EXPECT_EQ(plan.model.grid.num_layers, 2);
  ASSERT_NE(plan.find_score("retrieval"), nullptr);
  EXPECT_TRUE(std::isnan(plan.find_score("retrieval")->value[1]));
  EXPECT_EQ(plan.find_score("retrieval")->n, 40);
  EXPECT_THAT(plan.score_per_head("gate"), ElementsAre(0.25, 0.25, 0.75, 0.75));
  EXPECT_THROW(plan.score_per_head("other"), Error);
}

TEST(Headplan, OverridesReplaceLabelsAndThePrimaryComesFirst) {
  const auto labels = headplan_from_json(parse_json(kText)).effective_labels();
  EXPECT_THAT(labels, ElementsAre(ElementsAre("sink"), ElementsAre("previous"), ElementsAre("retrieval", "induction"),
                                  IsEmpty()));
}

TEST(Headplan, EveryKeyAndDigitSurvivesARewrite) {
  const Json before = parse_json(kText);
  const Json after = to_json(headplan_from_json(before));
  EXPECT_EQ(nlohmann::json(after), nlohmann::json(before)) << dump_json(after);
  EXPECT_EQ(dump_json(to_json(headplan_from_json(after))), dump_json(after)) << "writing is stable";
}

TEST(Headplan, FileRoundTrip) {
  const auto path = std::filesystem::temp_directory_path() / "headlight_headplan_test.json";
  const Headplan plan = headplan_from_json(parse_json(kText));
  save_headplan(plan, path, true);
  EXPECT_THROW(save_headplan(plan, path, false), Error);
  EXPECT_EQ(to_json(load_headplan(path)), to_json(plan));
  std::filesystem::remove(path);
}

TEST(Headplan, FeedsExpressions) {
  HeadFacts facts;
  facts.grid = {2, 2, 1};
  facts.metrics = {"entropy"};
  facts.metric = [](std::string_view) { return std::vector<double>{1, 2, 3, 4}; };
  add_headplan(facts, headplan_from_json(parse_json(kText)));
  const auto selected = [&](std::string_view text) { return to_text(facts.grid, parse_heads(text, facts)); };
  EXPECT_EQ(selected("retrieval>0.2"), "L1H*");
  EXPECT_EQ(selected("gate<0.5 & entropy>1"), "L0H1");
  EXPECT_EQ(selected("role=previous | primary=retrieval"), "L0H1, L1H0");
  EXPECT_EQ(selected("set:mine"), "L0H1, L1H0");
  HeadFacts other;
  other.grid = {3, 2, 1};
  EXPECT_THROW(add_headplan(other, headplan_from_json(parse_json(kText))), Error);
}

TEST(Headplan, PutScoreReplaces) {
  Headplan plan = headplan_from_json(parse_json(kText));
  plan.put_score({.id = "gate", .value = {1, 2, 3, 4}});
  plan.put_score({.id = "new", .value = {1, 2, 3, 4}});
  EXPECT_EQ(plan.scores.size(), 3u);
  EXPECT_EQ(plan.score_per_head("gate")[1], 2);
}

TEST(Headplan, WrongFilesAreRefusedWithThePath) {
  const std::pair<const char*, const char*> table[] = {
      {R"("L": 2)", "\"L\": 0"},
      {R"("G": 1)", "\"G\": 3"},
      {"[[0.1, null],", "[[0.1],"},
      {"[[0.1, null],", "[[0.1, \"x\"],"},
      {"\"granularity\": \"kv\"", "\"granularity\": \"head\""},
      {"\"L0H1\", \"labels\"", "\"L0H7\", \"labels\""},
      {"[[[\"sink\"], []]", "[[[3], []]"},
      {"\"mine\": [\"L1H0\"", "\"mine\": [\"L1H*\""},
      {"headlight.headplan/1", "headlight.headplan/9"},
      {"headlight.headplan/1", "something"},
  };
  const char* paths[] = {"model.L",
                         "model.G",
                         "scores.retrieval.value[0]",
                         "scores.retrieval.value[0][1]",
                         "scores.gate.granularity",
                         "roles.overrides[0].head",
                         "roles.labels[0][0]",
                         "sets.mine",
                         "schema",
                         "schema"};
  for (std::size_t n = 0; n < std::size(table); ++n) {
    std::string text = kText;
    const auto at = text.find(table[n].first);
    ASSERT_NE(at, std::string::npos) << table[n].first;
    text.replace(at, std::string_view(table[n].first).size(), table[n].second);
    try {
      headplan_from_json(parse_json(text));
      ADD_FAILURE() << table[n].second;
    } catch (const Error& error) {
      EXPECT_EQ(error.context().field, paths[n]) << error.what();
      EXPECT_EQ(error.code(), n == 8 ? Errc::bad_version : Errc::bad_format);
    }
  }
}

}  // namespace
}  // namespace headlight::heads
