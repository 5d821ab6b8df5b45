#include "analysis/findings/findings.h"

#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/analysis/planted_capture.h"

namespace headlight::analysis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Statements about one planted record, with the reports of the default analyses.
struct Found {
  explicit Found(const PlantedRecord& record, const heads::Headplan* plan = nullptr) {
    write_capture({record}, capture);
    for (const char* id : {"norm-weighted", "output-cka", "rollout"})
      reports.push_back(run_analysis(require_analysis(id), {capture, 0, pool}));
    all = findings({capture, 0, reports, plan});
  }
  const Finding* rule(std::string_view id) const {
    for (const Finding& finding : all)
      if (finding.rule == id) return &finding;
    return nullptr;
  }
  std::string statement(std::string_view id) const { return rule(id) == nullptr ? "" : rule(id)->statement; }

  ThreadPool pool{1};
  capture::MemoryCapture capture;
  std::vector<AnalysisReport> reports;
  std::vector<Finding> all;
};

TEST(Findings, FirstTokenHeadsAreCountedRowByRow) {
  PlantedRecord record(2, 2, 21);
  record.spread(0, 1);
  record.look_back(1, 0, 1, 0.06);
  const Found found(record);
  const Finding* finding = found.rule("first-token-heads");
  ASSERT_NE(finding, nullptr);
  EXPECT_FALSE(finding->nothing_found);
  EXPECT_THAT(finding->statement, HasSubstr("3 of 4 heads give more than half"));
  EXPECT_THAT(finding->statement, HasSubstr("L0H0 gives it 100 % on average, more than half in 20 of 20 rows"));
  EXPECT_THAT(finding->evidence.heads, ElementsAre(heads::HeadId{0, 0}, heads::HeadId{1, 1}, heads::HeadId{1, 0}));
}

TEST(Findings, NoSinkIsAResult) {
  PlantedRecord record(1, 2, 64);
  record.spread(0, 0);
  record.look_back(0, 1, 1, 1.0);
  const Found found(record);
  ASSERT_NE(found.rule("first-token-heads"), nullptr);
  EXPECT_TRUE(found.rule("first-token-heads")->nothing_found);
  EXPECT_THAT(found.statement("first-token-heads"), HasSubstr("No head uses the first token"));
  EXPECT_TRUE(found.all.back().nothing_found) << "what was not found stands last";
  EXPECT_FALSE(found.all.front().nothing_found);
}

TEST(Findings, PositionalHeads) {
  PlantedRecord record(1, 3, 40);
  record.look_back(0, 0, 1, 0.95);
  record.look_back(0, 1, 0, 0.5);
  const Found found(record);
  EXPECT_THAT(found.statement("previous-token-heads"), HasSubstr("1 of 3 heads gives at least 40 %"));
  EXPECT_THAT(found.statement("previous-token-heads"), HasSubstr("L0H0 most (95 %)"));
  EXPECT_THAT(found.statement("previous-token-heads"), HasSubstr("1 of them at least 90 %"));
  EXPECT_THAT(found.rule("own-token-heads")->evidence.heads, ElementsAre(heads::HeadId{0, 1}));
}

TEST(Findings, ContentUniformAndFarLookingHeads) {
  PlantedRecord record(1, 4, 60);
  record.look_back(0, 0, 7, 1.0);  // one token, neither first, previous nor own
  record.spread(0, 1);
  for (std::int64_t i = 1; i < 60; ++i) record.set(0, 2, i, std::max<std::int64_t>(1, i / 4), 0.9);
  const Found found(record);
  EXPECT_THAT(found.rule("content-heads")->evidence.heads, ElementsAre(heads::HeadId{0, 0}, heads::HeadId{0, 2}));
  EXPECT_THAT(found.rule("uniform-heads")->evidence.heads, ElementsAre(heads::HeadId{0, 1}));
  EXPECT_THAT(found.rule("far-looking-heads")->evidence.heads, testing::Contains(heads::HeadId{0, 2}));
  const Found none(PlantedRecord(1, 1, 20));
  for (const char* id : {"content-heads", "uniform-heads", "far-looking-heads", "previous-token-heads"})
    EXPECT_TRUE(none.rule(id)->nothing_found) << id;
}

TEST(Findings, StreamingHeadsNeedALongText) {
  EXPECT_THAT(Found(PlantedRecord(1, 1, 20)).statement("streaming-heads"), HasSubstr("too short"));
  PlantedRecord record(1, 2, 560);
  record.look_back(0, 0, 3, 0.5);
  record.look_back(0, 1, 270, 0.9);
  const Found found(record);
  EXPECT_THAT(found.statement("streaming-heads"), HasSubstr("1 of 2 heads keeps at least 95 %"));
  EXPECT_THAT(found.rule("streaming-heads")->evidence.heads, ElementsAre(heads::HeadId{0, 0}));
}

TEST(Findings, LayersThatAreSharpAndWide) {
  PlantedRecord record(3, 1, 41);
  record.spread(2, 0);
  for (std::int64_t i = 1; i < 41; ++i) record.set(1, 0, i, i, 0.5);
  double wide = 0.0;  // mean over all rows of ln(i + 1)
  for (int i = 1; i < 41; ++i) wide += std::log(i + 1.0) / 41.0;
  const Found found(record);
  const Finding* finding = found.rule("layer-entropy");
  ASSERT_NE(finding, nullptr);
  EXPECT_FALSE(finding->nothing_found);
  EXPECT_EQ(finding->statement, fmt::format("Attention is sharpest in layer 0 (mean entropy 0.00 nat) and widest in "
                                            "layer 2 ({:.2f} nat).",
                                            wide));
  EXPECT_EQ(finding->meaning, fmt::format("In tokens: 1 against {:.0f} that count.", std::exp(wide)));
  EXPECT_NEAR(finding->weight, 0.3 + 0.1 * wide, 1e-5);
  EXPECT_EQ(finding->evidence.series, "entropy");
}

TEST(Findings, LayersAlikeAreAResult) {
  PlantedRecord record(2, 1, 40);  // ln 2 = 0.69 nat apart, less than 1
  for (std::int64_t i = 1; i < 40; ++i) record.set(1, 0, i, i, 0.5);
  const Found found(record);
  EXPECT_TRUE(found.rule("layer-entropy")->nothing_found);
  EXPECT_EQ(found.statement("layer-entropy"),
            "Layers are about equally spread: mean entropy 0.00 nat (layer 0) to 0.68 nat (layer 1).");
  EXPECT_EQ(Found(PlantedRecord(1, 2, 20)).rule("layer-entropy"), nullptr) << "one layer cannot differ";
}

TEST(Findings, LaterSinksNameTheToken) {
  PlantedRecord record(1, 2, 30);
  std::vector<std::string> words(30, "word ");
  words[9] = ".\n";
  record.say(words);
  for (std::int64_t i = 9; i < 30; ++i) record.set(0, 1, i, 9, 0.4);
  const Found found(record);
  EXPECT_THAT(found.statement("later-sinks"), HasSubstr("'.\\n' at 9 (1 head, up to 40 % in L0H1)"));
  EXPECT_THAT(found.rule("later-sinks")->evidence.tokens, ElementsAre(9));
  EXPECT_TRUE(Found(PlantedRecord(1, 1, 30)).rule("later-sinks")->nothing_found);
}

TEST(Findings, DrainedSink) {
  PlantedRecord record(1, 2, 30);
  for (int h = 0; h < 2; ++h) record.look_back(0, h, 1, 0.3);
  EXPECT_TRUE(Found(record).rule("drained-sink")->nothing_found);
  for (int h = 0; h < 2; ++h) record.u_norm_lhj[static_cast<std::size_t>(h) * 30] = 0.01f;
  EXPECT_THAT(Found(record).statement("drained-sink"), HasSubstr("is drained"));
}

TEST(Findings, SimilarHeads) {
  PlantedRecord record(1, 3, 60);
  record.look_back(0, 0, 1, 0.8);
  record.look_back(0, 1, 1, 0.8);
  record.spread(0, 2);
  EXPECT_THAT(Found(record).statement("similar-heads"), HasSubstr("L0H0 and L0H1 (1.00)"));
}

TEST(Findings, SourcesOfTheLastToken) {
  PlantedRecord record(2, 1, 30);
  for (int l = 0; l < 2; ++l)
    for (std::int64_t i = 13; i < 30; ++i) record.set(l, 0, i, 12, 0.6);
  EXPECT_EQ(Found(record).rule("last-token-sources")->evidence.tokens.front(), 12);
  EXPECT_TRUE(Found(PlantedRecord(4, 1, 30)).rule("last-token-sources")->nothing_found)
      << "all of it ends at the first token";
}

TEST(Findings, RolesOfAHeadplan) {
  heads::Headplan plan;
  plan.model.grid = {1, 2, 2};
  plan.primary_lh = {"", "induction"};
  plan.labels_lh = {{}, {"induction"}};
  const Found found(PlantedRecord(1, 2, 20), &plan);
  EXPECT_EQ(found.statement("planned-roles"), "1 of 2 heads have the role induction: L0H1.");
}

TEST(Findings, AreOrderedAndWrittenAsJson) {
  PlantedRecord record(2, 2, 40);
  record.look_back(0, 1, 1, 0.9);
  const Found found(record);
  for (std::size_t n = 1; n < found.all.size(); ++n)
    if (!found.all[n].nothing_found) {
      EXPECT_GE(found.all[n - 1].weight, found.all[n].weight);
    }
  const Json json = to_json(found.all.front());
  EXPECT_EQ(json["rule"], found.all.front().rule);
  EXPECT_EQ(json["evidence"]["record"], 0);
  for (const auto& rule : finding_rules()) EXPECT_FALSE(rule.condition.empty());
}

}  // namespace
}  // namespace headlight::analysis
