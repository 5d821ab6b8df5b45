#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "analysis/learning/random.h"
#include "analysis/similarity/elastic_span.h"
#include "analysis/similarity/head_similarity.h"
#include "analysis/similarity/row_similarity.h"
#include "base/error.h"
#include "tests/analysis/planted_capture.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

const std::vector<double> kPeaked = {0.7, 0.1, 0.1, 0.1}, kUniform = {0.25, 0.25, 0.25, 0.25};

TEST(RowSimilarity, WorkedExamples) {
  EXPECT_NEAR(compare_rows(RowMeasure::jensen_shannon, kPeaked, kUniform) * std::log(2.0), 0.105297, 1e-6);
  EXPECT_NEAR(compare_rows(RowMeasure::total_variation, kPeaked, kUniform), 0.45, 1e-12);
  EXPECT_NEAR(compare_rows(RowMeasure::cosine, kPeaked, kUniform), 0.25 / std::sqrt(0.52 * 0.25), 1e-12);
  const std::vector<double> left = {1, 0, 0, 0}, right = {0, 0, 0, 1};
  EXPECT_NEAR(compare_rows(RowMeasure::jensen_shannon, left, right), 1.0, 1e-12) << "disjoint rows";
  EXPECT_EQ(compare_rows(RowMeasure::cosine, left, right), 0.0);
  EXPECT_TRUE(std::isnan(compare_rows(RowMeasure::cosine, left, std::vector<double>(4, 0.0))));
}

TEST(RowSimilarity, TopKeys) {
  const std::vector<double> a = {0.5, 0.3, 0.1, 0.1}, b = {0.1, 0.4, 0.4, 0.1};
  EXPECT_EQ(compare_rows(RowMeasure::top_overlap, a, b, 2), 0.5);
  EXPECT_NEAR(compare_rows(RowMeasure::recovered_mass, a, b, 2), 0.4, 1e-12) << "a keeps what it has on keys 1 and 2";
  EXPECT_NEAR(compare_rows(RowMeasure::recovered_mass, b, a, 2), 0.5, 1e-12);
}

TEST(RowSimilarity, DroppedKeysLeaveADistribution) {
  std::vector<double> row = {0.6, 0.1, 0.3};
  drop_keys(row, 0, 1);
  EXPECT_THAT(row, ElementsAre(0.0, DoubleNear(0.25, 1e-12), DoubleNear(0.75, 1e-12)));
  std::vector<double> sink = {1.0, 0.0};
  drop_keys(sink, 0, 1);
  EXPECT_THAT(sink, ElementsAre(0.0, 0.0));
}

TEST(Cka, KnowsRotationScaleAndShift) {
  Random random(3);
  std::vector<double> x, y, noise;
  for (int i = 0; i < 400; ++i) {
    const double a = random.normal(), b = 2.0 * random.normal();
    x.insert(x.end(), {a, b});
    y.insert(y.end(), {5.0 + 3.0 * (0.6 * a - 0.8 * b), -1.0 + 3.0 * (0.8 * a + 0.6 * b)});
    noise.insert(noise.end(), {random.normal(), random.normal()});
  }
  EXPECT_NEAR(linear_cka(x, 2, y, 2), 1.0, 1e-9);
  EXPECT_LT(linear_cka(x, 2, noise, 2), 0.05);
  EXPECT_TRUE(std::isnan(linear_cka(x, 2, std::vector<double>(800, 1.0), 2)));
  ThreadPool pool(2);
  const auto all = linear_cka_matrix(std::vector<std::vector<double>>{x, {}, noise}, 2, pool);
  EXPECT_NEAR(all[2], linear_cka(x, 2, noise, 2), 1e-12);
  EXPECT_EQ(all[2], all[6]);
  EXPECT_TRUE(std::isnan(all[1]));
}

TEST(Linkage, LongestRunOfSimilarMiddleLayers) {
  // Neighbours: 0-1 .99 (first layer does not count), 1-2 .95, 2-3 .92, 3-4 .5, 4-5 .99 (last does not count).
  std::vector<double> similarity(36, 0.0);
  const double neighbour[] = {0.99, 0.95, 0.92, 0.5, 0.99};
  for (int l = 0; l < 5; ++l) similarity[l * 6 + l + 1] = neighbour[l];
  EXPECT_EQ(longest_similar_block(similarity, 6, 0.9).begin, 1);
  EXPECT_EQ(longest_similar_block(similarity, 6, 0.9).end, 4);
  EXPECT_EQ(longest_similar_block(similarity, 6, 0.97).end, 0) << "none";
}

TEST(Linkage, MergesTheNearestFirst) {
  const std::vector<double> distance = {0, 1, 4, 1, 0, 6, 4, 6, 0};
  const auto merges = average_linkage(distance, 3);
  ASSERT_EQ(merges.size(), 2u);
  EXPECT_EQ(merges[0].a, 0);
  EXPECT_EQ(merges[0].b, 1);
  EXPECT_EQ(merges[1].a, 2);
  EXPECT_EQ(merges[1].b, 3);
  EXPECT_DOUBLE_EQ(merges[1].distance, 5.0);
}

TEST(HeadSimilarity, EqualHeadsAreFound) {
  PlantedRecord record(2, 3, 40);
  record.look_back(0, 0, 1, 0.9);
  record.look_back(0, 1, 1, 0.9);
  record.spread(0, 2);
  for (int h = 0; h < 3; ++h) record.spread(1, h);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool pool(2);
  const auto cosine = row_similarity(capture, 0, RowMeasure::cosine, {.rows = 20, .tail = 5, .drop_sink = 0}, pool);
  EXPECT_EQ(cosine.rows, 20);
  EXPECT_NEAR(cosine.mean_lab[0 * 9 + 0 * 3 + 1], 1.0, 1e-6);
  EXPECT_LT(cosine.mean_lab[0 * 9 + 0 * 3 + 2], 0.5);
  EXPECT_NEAR(cosine.mean_lab[1 * 9 + 0 * 3 + 2], 1.0, 1e-6);
  EXPECT_NEAR(cosine.error_lab[1 * 9 + 0 * 3 + 2], 0.0, 1e-6);
  const auto cka = output_cka(capture, 0, 1000, pool);
  EXPECT_NEAR(cka[0 * 9 + 0 * 3 + 1], 1.0, 1e-6);
  const auto profile = profile_similarity(capture, 0, {.drop_sink = 0});
  EXPECT_NEAR(profile.head_ab[0 * 6 + 1], 1.0, 1e-9);
  EXPECT_NEAR(profile.head_ab[3 * 6 + 5], 1.0, 1e-9);
}

TEST(HeadSimilarity, DoesNotDependOnThreads) {
  PlantedRecord record(1, 2, 30);
  record.look_back(0, 0, 2, 0.7);
  record.spread(0, 1);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool one(1), four(4);
  EXPECT_EQ(row_similarity(capture, 0, RowMeasure::jensen_shannon, {}, one).mean_lab,
            row_similarity(capture, 0, RowMeasure::jensen_shannon, {}, four).mean_lab);
}

TEST(ElasticSpan, RuntimeRule) {
  EXPECT_EQ((SpanRule{0, 0.125}).runtime_span(4096), 512);
  EXPECT_EQ((SpanRule{-1024, 0.875}).runtime_span(2048), 768);
  EXPECT_EQ((SpanRule{-1024, 0.875}).runtime_span(1024), 128) << "never below 128";
  EXPECT_EQ((SpanRule{0, 1.0}).runtime_span(1000), 1024) << "rounded up to 64";
  EXPECT_EQ((SpanRule{0, 0.125}).sink_part(4096), 64);
  EXPECT_DOUBLE_EQ(span_density(std::vector<SpanRule>{{0, 0.5}, {100, 0.0}}, 1000), 0.3);
}

TEST(ElasticSpan, InfluenceIsTheFirstOrderChange) {
  EXPECT_THAT(masking_influence(std::vector<double>{0.5, 0.3, 0.2}, std::vector<double>{1, -2, 0.5}),
              ElementsAre(DoubleNear(-1, 1e-9), DoubleNear(0.857143, 1e-6), DoubleNear(-0.125, 1e-9)));
  EXPECT_THAT(masking_influence(std::vector<double>{0.7, 0.1, 0.2}, std::vector<double>{1, 2, -1}),
              ElementsAre(DoubleNear(-0.7, 1e-9), DoubleNear(-0.144444, 1e-6), DoubleNear(0.425, 1e-9)));
  EXPECT_THAT(masking_influence(std::vector<double>{1.0}, std::vector<double>{2.0}), ElementsAre(-2.0));
}

TEST(ElasticSpan, LocalHeadsNeedLittle) {
  PlantedRecord record(1, 3, 300);
  record.look_back(0, 0, 3, 1.0);
  record.look_back(0, 1, 100, 1.0);
  record.spread(0, 2);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool pool(2);
  const auto result = span_coverage(capture, 0, {.sink = 4, .coverage = 0.95, .rows = 100, .block = 16}, pool);
  EXPECT_EQ(result.span_lh[0], 16);
  EXPECT_EQ(result.span_lh[1], 112) << "4 sinks and 101 recent tokens, in blocks of 16";
  EXPECT_GT(result.span_lh[2], 200);
}

TEST(SimilarityAnalyses, RunFromTheRegistry) {
  PlantedRecord record(2, 2, 24);
  record.look_back(0, 0, 1, 0.9);
  record.spread(1, 1);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool pool(1);
  for (const char* id : {"row-similarity", "output-cka", "received-profile", "span-coverage"}) {
    const auto report = run_analysis(require_analysis(id), {capture, 0, pool});
    for (const auto& series : report.series) {
      std::int64_t size = 1;
      for (const auto extent : series.shape) size *= extent;
      EXPECT_EQ(std::ssize(series.values), size) << id << " " << series.id;
      EXPECT_EQ(series.axes.size(), series.shape.size());
      for (const double value : series.values)
        EXPECT_TRUE(std::isnan(value) || (value >= series.low - 1e-9 && value <= series.high + 1e-9))
            << id << " " << series.id;
    }
  }
}

}  // namespace
}  // namespace headlight::analysis
