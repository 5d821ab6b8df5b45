#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "analysis/detection/attention_tracker.h"
#include "analysis/detection/human_agreement.h"
#include "analysis/detection/probes.h"
#include "analysis/detection/reranking.h"
#include "analysis/detection/structure.h"
#include "analysis/detection/token_spans.h"
#include "analysis/learning/random.h"
#include "base/error.h"
#include "tests/analysis/planted_capture.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

double number(const AnalysisReport& report, std::string_view id) {
  for (const auto& series : report.series)
    if (series.id == id) return series.values.front();
  return kUndefined;
}

const Table& table(const AnalysisReport& report, std::string_view id) {
  for (const auto& one : report.tables)
    if (one.id == id) return one;
  throw Error(Errc::internal, "no such table");
}

TEST(TokenSpans, TextBytesAndSegments) {
  PlantedRecord record(1, 1, 4);
  record.say({"The ", "Eiffel ", "Tower ", "is"});
  record.header.segments = {{"user", 1, 3}};
  const auto span = find_text(record.header, "fel Tower");
  ASSERT_TRUE(span);
  EXPECT_EQ(span->begin, 1);
  EXPECT_EQ(span->end, 3);
  EXPECT_FALSE(find_text(record.header, "Louvre"));
  EXPECT_FALSE(find_text(record.header, ""));
  EXPECT_EQ(find_segment(record.header, "user")->end, 3);
  EXPECT_FALSE(find_segment(record.header, "system"));
}

TEST(TokenSpans, AttentionOfE4) {
  capture::MemoryCapture capture;
  write_capture({two_layer_e4()}, capture);
  ThreadPool pool(1);
  const std::int64_t rows[] = {2, 3};
  const TokenSpan spans[] = {{0, 2}, {2, 4}};
  EXPECT_NEAR(span_attention(capture, 0, rows, spans, SpanReduction::sum, pool)[0], (0.7 + 0.8) / 2, 1e-5);
  EXPECT_NEAR(span_attention(capture, 0, rows, spans, SpanReduction::max, pool)[2], (0.3 + 0.1) / 2, 1e-5);
  EXPECT_NEAR(summed_attention(capture, 0, {2, 4}, pool)[0], 2 * (0.5 + 0.7) / 2, 1e-5);
  const TokenSpan outside[] = {{3, 5}};
  EXPECT_THROW(span_attention(capture, 0, rows, outside, SpanReduction::sum, pool), Error);
}

// Records of 2 layers, 3 heads, 6 words; L1H2 looks at word 3 when the answer will be right (label 1).
std::vector<PlantedRecord> labelled_records(int count) {
  std::vector<PlantedRecord> records;
  Random random(17);
  for (int r = 0; r < count; ++r) {
    PlantedRecord record(2, 3, 6);
    record.header.label = r % 2;
    for (int l = 0; l < 2; ++l)
      for (int h = 0; h < 3; ++h) record.set(l, h, 5, 3, 0.3 * random.uniform());
    if (r % 2 == 1) record.set(1, 2, 5, 3, 0.4);
    records.push_back(std::move(record));
  }
  return records;
}

TEST(SatProbe, OneHeadCarriesTheLabel) {
  capture::MemoryCapture capture;
  write_capture(labelled_records(80), capture);
  ThreadPool pool(2);
  Json spans = Json::array();
  for (int r = 0; r < 80; ++r)
    for (const int value : {r, 3, 4}) spans.push_back(value);
  const auto report = run_analysis(require_analysis("sat-probe"), {capture, 0, pool}, {{"spans", spans}, {"c", 0.5}});
  EXPECT_GT(number(report, "auroc"), 0.95);
  EXPECT_EQ(number(report, "risk_top"), 0.0);
  EXPECT_EQ(number(report, "risk_bottom"), 1.0);
  const auto& weight = report.series.back().values;
  EXPECT_GT(weight[5], 0.5);
  for (std::size_t c = 0; c < 5; ++c) EXPECT_LT(std::abs(weight[c]), 0.2 * weight[5]);
  EXPECT_THROW(run_analysis(require_analysis("sat-probe"), {capture, 0, pool}), Error) << "no spans";
}

TEST(HallucinationProbe, OneHeadCarriesTheLabel) {
  capture::MemoryCapture capture;
  write_capture(labelled_records(80), capture);
  ThreadPool pool(2);
  const auto report = run_analysis(require_analysis("hallucination-probe"), {capture, 0, pool},
                                   {{"first", 2}, {"count", 3}, {"epochs", 400}, {"standardise", true}});
  EXPECT_GT(number(report, "auroc"), 0.95);
  const auto& saliency = report.series.back().values;
  EXPECT_EQ(std::max_element(saliency.begin(), saliency.end()) - saliency.begin(), 5);
}

TEST(MechanisticProbe, PlantedAndShuffled) {
  Random random(5);
  Samples planted, noise;
  for (int s = 0; s < 1000; ++s) {
    const int label = s % 2;
    planted.add(std::vector<double>{label * 0.8 + 0.1 * random.uniform(), random.uniform() * 0.1}, label);
    noise.add(std::vector<double>{random.uniform(), random.uniform()}, label);
  }
  EXPECT_GT(mechanistic_probe(planted, noise, {}).score, 0.95);
  EXPECT_NEAR(mechanistic_probe(noise, {}, {}).score, 0.0, 0.15);
  EXPECT_NEAR(normalised_entropy(std::vector<double>{1, 1, 1, 1}), 1.0, 1e-12);
  EXPECT_EQ(normalised_entropy(std::vector<double>{0, 3, 0}), 0.0);
}

TEST(MechanisticProbe, FromACapture) {
  capture::MemoryCapture capture;
  std::vector<PlantedRecord> records;
  for (int r = 0; r < 20; ++r) {
    PlantedRecord record(2, 2, 6);
    for (int h = 0; h < 2; ++h) record.set(1, h, 5, 2, 0.6);  // word 2 is part of the reasoning, word 4 is not
    records.push_back(std::move(record));
  }
  write_capture(records, capture);
  ThreadPool pool(1);
  Json statements = Json::array();
  for (int r = 0; r < 20; ++r)
    for (const int value : {r, 2, 3, 1, r, 4, 5, 0}) statements.push_back(value);
  const auto report =
      run_analysis(require_analysis("mechanistic-probe"), {capture, 0, pool}, {{"statements", statements}});
  EXPECT_EQ(number(report, "f1"), 1.0);
}

TEST(Reranking, FilterOfTheWorkedExample) {
  const std::vector<double> query = {0.02, 0.03, 0.01, 0.02, -0.5, 0.03, 0.4}, nothing(7, 0.0);
  const TokenSpan documents[] = {{0, 6}, {6, 7}};
  // Mean -.065, unbiased std .213237, limit -.491474: the fifth token goes.
  const auto scores = rerank(query, nothing, documents);
  EXPECT_NEAR(scores[0].score, 0.11, 1e-9);
  EXPECT_EQ(scores[0].dropped, 1);
  EXPECT_NEAR(scores[1].score, 0.4, 1e-12) << "a document of one token keeps it";
  EXPECT_NEAR(rerank(query, nothing, documents, {.filter = false})[0].score, -0.39, 1e-9);
}

TEST(Reranking, TheDocumentThatIsLookedAtWins) {
  const auto prompt = [](const std::string& query, double to_second) {
    PlantedRecord record(1, 1, 9);
    record.say({"Docs\n\n", "[1] ", "apples", "\n\n", "[2] ", "pears", "\n\n", "Query: ", query});
    for (std::int64_t row = 7; row < 9; ++row) {
      record.set(0, 0, row, 2, 0.2);
      record.set(0, 0, row, 5, to_second);
    }
    return record;
  };
  capture::MemoryCapture capture;
  write_capture({prompt("pears?", 0.5), prompt("N/A", 0.1)}, capture);
  ThreadPool pool(1);
  const auto report = run_analysis(require_analysis("in-context-reranking"), {capture, 0, pool}, {{"calibration", 1}});
  EXPECT_EQ(table(report, "ranking").rows.at(0).at(1), 2);
  EXPECT_NEAR(report.series[0].values[0], 0.0, 1e-5) << "the query adds nothing to document 1";
  // Row 6 (the blank line) looks at the first token only: mean of 0, .4, .4.
  EXPECT_NEAR(report.series[0].values[1], 0.8 / 3, 1e-5);
}

TEST(AttentionTracker, WorkedExampleAndThresholds) {
  EXPECT_NEAR(focus(0.12, 0.28), 0.3, 1e-6);
  EXPECT_EQ(focus_threshold({}, {}), 0.5);
  const std::vector<double> normal = {0.8, 0.9}, attack = {0.1, 0.2};
  EXPECT_NEAR(focus_threshold(normal, attack), 0.5, 1e-12);
  EXPECT_NEAR(focus_threshold(normal, {}), 0.85 - 4 * 0.05, 1e-12);
  // Two heads: the first separates by .7 with deviations .05 + .05, the second not at all.
  const std::vector<double> normal_sc = {0.8, 0.5, 0.9, 0.5}, attack_sc = {0.1, 0.5, 0.2, 0.6};
  EXPECT_THAT(important_heads(normal_sc, attack_sc, 2, 4.0), ElementsAre(0));
  EXPECT_TRUE(important_heads(normal_sc, attack_sc, 2, 8.0).empty());
}

TEST(AttentionTracker, FindsThePlantedHead) {
  std::vector<PlantedRecord> records;
  Random random(2);
  for (int r = 0; r < 20; ++r) {
    PlantedRecord record(2, 2, 6);
    record.header.segments = {{"system", 1, 3}, {"user", 3, 5}};
    record.header.label = r % 2;
    for (int l = 0; l < 2; ++l)
      for (int h = 0; h < 2; ++h) {
        const double wobble = 0.05 * random.uniform();
        const bool planted = l == 1 && h == 0;
        record.set(l, h, 5, 1, planted && r % 2 == 1 ? 0.1 + wobble : 0.4 + wobble);
        record.set(l, h, 5, 4, planted && r % 2 == 1 ? 0.4 : 0.1);
      }
    records.push_back(std::move(record));
  }
  capture::MemoryCapture capture;
  write_capture(records, capture);
  ThreadPool pool(1);
  const auto report = run_analysis(require_analysis("attention-tracker"), {capture, 0, pool});
  ASSERT_EQ(table(report, "heads").rows.size(), 1u);
  EXPECT_EQ(table(report, "heads").rows[0][0], "L1H0");
  EXPECT_EQ(number(report, "auroc"), 1.0);
  const auto given = run_analysis(require_analysis("attention-tracker"), {capture, 0, pool}, {{"heads", {0, 1}}});
  EXPECT_LT(number(given, "auroc"), 0.9) << "a head that does not separate";
}

TEST(HumanAgreement, SpansAndAlpha) {
  const AgreementCase same{{{0, 4}, {10, 14}}, {{0, 4}, {10, 14}}};
  EXPECT_EQ(span_agreement(std::span(&same, 1)).f1, 1.0);
  const AgreementCase half{{{0, 4}}, {{2, 6}, {8, 10}}};
  const auto result = span_agreement(std::span(&half, 1));
  EXPECT_NEAR(result.precision, 0.25, 1e-12);
  EXPECT_NEAR(result.recall, 0.5, 1e-12);
  const std::vector<int> a = {1, 0, 1, 0, 0, 1}, b = {0, 0, 1, 0, 1, 1};
  EXPECT_DOUBLE_EQ(krippendorff_alpha(a, a), 1.0);
  // Coincidences: o_00 = 4, o_11 = 4, o_01 = o_10 = 2; D_o = 4, D_e = 2 * 36 / 11.
  EXPECT_NEAR(krippendorff_alpha(a, b), 1.0 - 4.0 / (72.0 / 11.0), 1e-12);
  Random random(1);
  std::vector<int> x, y;
  for (int n = 0; n < 20000; ++n) {
    x.push_back(static_cast<int>(random.below(2)));
    y.push_back(static_cast<int>(random.below(2)));
  }
  EXPECT_NEAR(krippendorff_alpha(x, y), 0.0, 0.03);
}

TEST(HumanAgreement, FromACapture) {
  PlantedRecord record(2, 1, 6);
  record.say({"def ", "sum ", "of ", "two ", "numbers", "\n"});
  record.set(1, 0, 5, 1, 0.9);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool pool(1);
  const auto report = run_analysis(require_analysis("human-agreement"), {capture, 0, pool}, {{"marks", {4, 8}}});
  EXPECT_EQ(table(report, "agreement").rows.size(), 9u);
  EXPECT_GT(table(report, "agreement").rows[3][3], 0.0) << "recall of the last layer";
}

TEST(Structure, Brackets) {
  // ( ( ) ) ) (
  const auto structure = bracket_structure(std::vector<int>{1, 1, -1, -1, -1, 1});
  EXPECT_THAT(structure.depth_j, ElementsAre(1, 2, 2, 1, 0, 0));
  EXPECT_THAT(structure.partner_j, ElementsAre(3, 2, 1, 0, -1, -1));
  std::vector<float> attn(9, 0.0f);
  attn[0] = 1.0f;                  // (
  attn[3] = 0.5f, attn[4] = 0.5f;  // ()
  attn[6] = 0.25f, attn[7] = 0.5f, attn[8] = 0.25f;
  const auto result = hierarchical_attention(attn, bracket_structure(std::vector<int>{1, -1, -1}));
  EXPECT_NEAR(result.partner_mass, 0.5, 1e-6) << "only row 1 closes a bracket that was opened";
  EXPECT_NEAR(result.violation_mass, 0.25 / 3, 1e-6);
  EXPECT_NEAR(result.depth_matching, (1.0 + 1.0 + 0.25 * 3) / 3, 1e-6);
}

TEST(Structure, GraphThatIsUsedAndOneThatIsNot) {
  // A path 0 - 1 - 2 - 3 - 4 - 5; every node looks at its predecessor with .8.
  const std::vector<Edge> path = {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}};
  std::vector<double> used(36, 0.0), unused(36, 0.0);
  for (int a = 0; a < 6; ++a)
    for (int b = 0; b <= a; ++b) {
      used[a * 6 + b] = a == b ? 0.1 : a - b == 1 ? 0.8 : 0.02;
      unused[a * 6 + b] = 0.2;
    }
  const auto hop = hop_distances(6, path);
  EXPECT_EQ(hop[0 * 6 + 5], 5);
  const auto with = graph_attention(used, 6, path, 0), without = graph_attention(unused, 6, path, 0);
  EXPECT_GT(with.share_by_hop[1], 0.7);
  EXPECT_LT(with.shuffled_one_hop, 0.5 * with.share_by_hop[1]);
  EXPECT_GT(with.hop_correlation, 0.5);
  EXPECT_NEAR(without.shuffled_one_hop, without.share_by_hop[1], 0.02) << "renaming nodes changes nothing";
  EXPECT_TRUE(std::isnan(without.hop_correlation));
}

TEST(Structure, HopProfileOfAPatchThatLooksAtItself) {
  std::vector<float> attn(81, 0.0f);
  for (int i = 0; i < 9; ++i) attn[i * 9 + i] = 1.0f;
  EXPECT_THAT(hop_profile(attn, 9, 0, 3, 3), ElementsAre(1, 0, 0));
  for (float& value : attn) value = 1.0f / 9;
  EXPECT_THAT(hop_profile(attn, 9, 0, 3, 3),
              ElementsAre(DoubleNear(1.0 / 9, 1e-6), DoubleNear(1.0 / 9, 1e-6), DoubleNear(1.0 / 9, 1e-6)));
  EXPECT_THROW(hop_profile(attn, 9, 1, 3, 3), Error);
}

TEST(Structure, SimilarityMap) {
  const std::vector<double> text = {1, -1, 0, 0}, patches = {2, -2, 0, 0, -1, 1, 0, 0, 0, 0, 1, -1};
  const auto map = similarity_map(text, patches);
  EXPECT_NEAR(map.logit_p[0], 1 / 0.07, 1e-5);
  EXPECT_NEAR(map.logit_p[1], -1 / 0.07, 1e-5);
  EXPECT_NEAR(map.probability_p[2], 0.5, 1e-9);
  const auto large = enlarge(std::vector<double>{0, 1}, 1, 2, 1, 4);
  EXPECT_THAT(large, ElementsAre(0, 0.25, 0.75, 1));
  EXPECT_NEAR(dice(large, std::vector<int>{0, 0, 1, 0}, 0.5), 2.0 / 3.0, 1e-12);
}

TEST(Structure, RegressionPatterns) {
  const std::vector<double> kq = {2, 0, 0, 2}, ov = {0, 0, 0, 1};
  const auto clean = regression_patterns(kq, ov, 2);
  EXPECT_EQ(clean.diagonality, 1.0);
  EXPECT_EQ(clean.homogeneity, 0.0);
  EXPECT_EQ(clean.last_entry, 1.0);
  const auto mixed = regression_patterns(std::vector<double>{1, 1, 1, 3}, std::vector<double>{1, 0, 0, 1}, 2);
  EXPECT_NEAR(mixed.diagonality, std::sqrt(10.0 / 12.0), 1e-12);
  EXPECT_NEAR(mixed.homogeneity, 0.5, 1e-12);
}

TEST(StructureAnalyses, RunFromTheRegistry) {
  PlantedRecord record(1, 2, 9);
  record.say({"(", "a", "(", "b", ")", ")", "c", "d", "e"});
  record.set(0, 1, 4, 2, 0.9);
  record.set(0, 1, 5, 0, 0.0);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool pool(1);
  const auto brackets = run_analysis(require_analysis("bracket-attention"), {capture, 0, pool});
  EXPECT_NEAR(brackets.series[1].values[0], 0.5, 1e-5) << "head 0: row 5 looks at its partner, the first token";
  EXPECT_NEAR(brackets.series[1].values[1], 0.95, 1e-5);
  const auto graph = run_analysis(require_analysis("graph-attention"), {capture, 0, pool},
                                  {{"nodes", {0, 2, 2, 4, 4, 6}}, {"edges", {0, 1, 1, 2}}});
  EXPECT_EQ(graph.tables[0].rows.size(), 1u);
  const auto hops = run_analysis(require_analysis("hop-profile"), {capture, 0, pool}, {{"rows", 3}, {"cols", 3}});
  EXPECT_THAT(hops.series[0].shape, ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace headlight::analysis
