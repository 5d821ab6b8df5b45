#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "analysis/embedding/joint_embedding.h"
#include "analysis/learning/random.h"
#include "base/error.h"
#include "tests/analysis/planted_capture.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

std::vector<double> normals(std::int64_t count, std::uint64_t seed, double shift = 0.0, double scale = 1.0) {
  Random random(seed);
  std::vector<double> values;
  for (std::int64_t n = 0; n < count; ++n) values.push_back(shift + scale * random.normal());
  return values;
}

std::vector<double> attention(std::span<const double> q_nd, std::span<const double> k_nd, std::int64_t dim) {
  const std::int64_t rows = std::ssize(q_nd) / dim, keys = std::ssize(k_nd) / dim;
  std::vector<double> attn;
  for (std::int64_t i = 0; i < rows; ++i) {
    std::vector<double> score;
    double sum = 0.0;
    for (std::int64_t j = 0; j < keys; ++j) {
      double s = 0.0;
      for (std::int64_t d = 0; d < dim; ++d) s += q_nd[i * dim + d] * k_nd[j * dim + d];
      score.push_back(std::exp(s));
      sum += score.back();
    }
    for (const double s : score) attn.push_back(s / sum);
  }
  return attn;
}

TEST(JointVectors, AttentionStaysAsItIs) {
  const auto q = normals(12 * 4, 1, 0.5, 0.4), k = normals(9 * 4, 2, -0.3, 2.0);
  const auto before = attention(q, k, 4);
  const auto joint = normalise_jointly(q, k, 4, before);
  const auto after = attention(joint.q_nd, joint.k_nd, 4);
  for (std::size_t n = 0; n < before.size(); ++n) EXPECT_NEAR(before[n], after[n], 1e-9);
  EXPECT_GE(joint.scale, 0.0625);
  EXPECT_LE(joint.scale, 16.0);
  EXPECT_GT(joint.scale, 1.0) << "short queries grow, long keys shrink";
}

TEST(JointVectors, DistanceShowsTheScoreOfUnitVectors) {
  std::vector<double> circle;
  for (int n = 0; n < 24; ++n) circle.insert(circle.end(), {std::cos(0.26 * n), std::sin(0.26 * n)});
  const auto joint = normalise_jointly(circle, circle, 2, {});
  EXPECT_LT(distance_quality(joint, {}), -0.99);
}

TEST(PrincipalComponents, FindTheLongAxis) {
  const auto noise = normals(200, 4, 0.0, 0.1), along = normals(200, 5, 0.0, 3.0);
  std::vector<double> x;
  for (std::size_t n = 0; n < 200; ++n)
    x.insert(x.end(), {7 + 0.6 * along[n] - 0.8 * noise[n], 0.8 * along[n] + 0.6 * noise[n], -2.0});
  const auto projected = principal_components(x, 3);
  EXPECT_GT(projected.explained[0], 0.99);
  EXPECT_NEAR(projected.explained[0] + projected.explained[1], 1.0, 1e-9);
  double mean = 0.0, product = 0.0;
  for (std::size_t n = 0; n < 200; ++n) mean += along[n] / 200;
  for (std::size_t n = 0; n < 200; ++n) product += projected.xy_n2[2 * n] * (along[n] - mean);
  EXPECT_GT(product, 0.0) << "the largest entry of the axis is positive, so the sign is settled";
}

TEST(Tsne, KeepsClustersApartAndRepeatsItself) {
  std::vector<double> x;
  for (int cluster = 0; cluster < 3; ++cluster) {
    auto points = normals(40 * 5, 10 + cluster, 0.0, 0.3);
    for (int n = 0; n < 40; ++n) points[n * 5 + cluster] += 6.0;
    x.insert(x.end(), points.begin(), points.end());
  }
  ThreadPool one(1), three(3);
  const TsneOptions options{.perplexity = 15, .iterations = 300, .cosine = false};
  const auto projected = tsne(x, 5, options, one), again = tsne(x, 5, options, three);
  EXPECT_EQ(projected.xy_n2, again.xy_n2) << "threads do not matter";
  int wrong = 0;
  for (int i = 0; i < 120; ++i) {
    double best = INFINITY;
    int nearest = -1;
    for (int j = 0; j < 120; ++j) {
      const double distance = std::hypot(projected.xy_n2[2 * i] - projected.xy_n2[2 * j],
                                         projected.xy_n2[2 * i + 1] - projected.xy_n2[2 * j + 1]);
      if (j != i && distance < best) {
        best = distance;
        nearest = j;
      }
    }
    wrong += nearest / 40 != i / 40;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_THROW(tsne(x, 5, {.perplexity = 50}, one), Error) << "120 points are too few";
}

TEST(EmbeddingAnalyses, RunFromTheRegistry) {
  PlantedRecord record(2, 2, 48);
  record.spread(0, 1);
  record.look_back(1, 0, 1, 0.7);
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  ThreadPool pool(2);
  const auto matrix = run_analysis(require_analysis("joint-embedding"), {capture, 0, pool});
  EXPECT_THAT(matrix.series[2].shape, ElementsAre(2, 2, 48, 2));
  for (const double quality : matrix.series[0].values) EXPECT_TRUE(std::isnan(quality) || std::abs(quality) <= 1.0);
  const auto picture = run_analysis(require_analysis("joint-tsne"), {capture, 0, pool},
                                    {{"layer", 1}, {"head", 0}, {"perplexity", 10.0}, {"iterations", 50}});
  EXPECT_THAT(picture.series[0].shape, ElementsAre(96, 2));
  EXPECT_EQ(picture.tables[0].rows.size(), 96u);
}

}  // namespace
}  // namespace headlight::analysis
