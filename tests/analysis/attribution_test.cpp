#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "analysis/attribution/attention_flow.h"
#include "analysis/attribution/cache_scores.h"
#include "analysis/attribution/norm_weighted.h"
#include "analysis/attribution/perturbation.h"
#include "analysis/attribution/rollout.h"
#include "analysis/learning/random.h"
#include "base/error.h"
#include "tests/analysis/planted_capture.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

PlantedRecord random_record(int layers, int heads, std::int64_t rows, std::uint64_t seed) {
  PlantedRecord record(layers, heads, rows);
  Random random(seed);
  for (int l = 0; l < layers; ++l)
    for (int h = 0; h < heads; ++h)
      for (std::int64_t i = 1; i < rows; ++i)
        for (std::int64_t j = 1; j <= i; ++j) record.set(l, h, i, j, random.uniform() / static_cast<double>(i + 1));
  return record;
}

TEST(Rollout, E4OverTwoLayers) {
  capture::MemoryCapture capture;
  write_capture({two_layer_e4()}, capture);
  ThreadPool pool(1);
  const std::int64_t last = 3;
  EXPECT_THAT(
      rollout(capture, 0, std::span(&last, 1), {}, pool),
      ElementsAre(DoubleNear(0.57, 1e-6), DoubleNear(0.0675, 1e-6), DoubleNear(0.06, 1e-6), DoubleNear(0.3025, 1e-6)));
}

TEST(Rollout, VectorRouteEqualsTheMatrix) {
  capture::MemoryCapture capture;
  write_capture({random_record(3, 2, 33, 11)}, capture);
  ThreadPool pool(2);
  std::vector<std::int64_t> targets = {32, 0, 17};
  for (const std::int64_t drop : {0, 4}) {
    const RolloutOptions options{.residual = 0.3, .drop_sink = drop};
    const auto some = rollout(capture, 0, targets, options, pool);
    const auto all = full_rollout(capture, 0, options, pool);
    for (std::size_t t = 0; t < targets.size(); ++t) {
      double sum = 0.0;
      for (std::int64_t j = 0; j < 33; ++j) {
        EXPECT_NEAR(some[t * 33 + j], all[targets[t] * 33 + j], 1e-5)
            << "drop " << drop << " target " << targets[t] << " key " << j;
        if (j > targets[t]) {
          EXPECT_EQ(some[t * 33 + j], 0.0);
        }
        sum += some[t * 33 + j];
      }
      EXPECT_NEAR(sum, 1.0, 1e-5);
    }
  }
}

TEST(Rollout, OtherFusionsAndDiscard) {
  const std::vector<float> attn = {1, 0, 0.9f, 0.1f, 1, 0, 0.2f, 0.8f};  // two heads of two rows
  const auto largest = mixed_map(attn, 2, 2, 0, {.residual = 0.0, .fusion = HeadFusion::max});
  EXPECT_NEAR(largest[2], 0.9 / 1.7, 1e-6);
  const auto smallest = mixed_map(attn, 2, 2, 0, {.residual = 0.0, .fusion = HeadFusion::min});
  EXPECT_NEAR(smallest[2], 0.2 / 0.3, 1e-6);
  const auto discarded = mixed_map(attn, 2, 2, 0, {.residual = 0.0, .discard = 0.4});
  EXPECT_EQ(discarded[3], 0.0) << "0.45 is the smallest of 1, .55, .45";
  EXPECT_NEAR(discarded[2], 1.0, 1e-6);
}

TEST(Rollout, RefusesWhatNeedsTheMatrix) {
  capture::MemoryCapture capture;
  write_capture({two_layer_e4()}, capture);
  ThreadPool pool(1);
  const std::int64_t last = 3, outside = 4;
  EXPECT_THROW(rollout(capture, 0, std::span(&last, 1), {.fusion = HeadFusion::max}, pool), Error);
  EXPECT_THROW(rollout(capture, 0, std::span(&outside, 1), {}, pool), Error);
}

TEST(AttentionFlow, OneLayerIsTheEdge) {
  const std::vector<double> map = {1, 0, 0.3, 0.7};
  ThreadPool pool(1);
  const auto flow = attention_flow(std::vector<std::vector<double>>{map}, 2, {.normalise = false}, pool);
  EXPECT_THAT(flow, ElementsAre(DoubleNear(0.3, 1e-7), DoubleNear(0.7, 1e-7)));
}

TEST(AttentionFlow, TwoLayersByHand) {
  // Row 1 of both layers: .4 to token 0, .6 to itself; token 0 only to itself (capacity 1).
  // To token 0: min(.4, 1) through token 0, and min(.6, .4) through token 1 = .8. To token 1: min(.6, .6) = .6.
  const std::vector<double> map = {1, 0, 0.4, 0.6};
  ThreadPool pool(2);
  const std::vector<std::vector<double>> maps = {map, map};
  EXPECT_THAT(attention_flow(maps, 2, {.normalise = false}, pool),
              ElementsAre(DoubleNear(0.8, 1e-6), DoubleNear(0.6, 1e-6)));
  EXPECT_THAT(attention_flow(maps, 2, {}, pool), ElementsAre(DoubleNear(0.8 / 1.4, 1e-6), DoubleNear(0.6 / 1.4, 1e-6)));
  EXPECT_THROW(attention_flow(maps, 257, {}, pool), Error);
}

TEST(NormWeighted, DrainedSinkLosesItsWeight) {
  PlantedRecord record(1, 1, 2);
  record.set(0, 0, 1, 1, 0.1);  // row 1: .9 on the first token
  record.u_norm_lhj = {0.1f, 1.0f};
  capture::MemoryCapture capture;
  write_capture({record}, capture);
  const auto result = norm_weighted(capture, 0);
  EXPECT_NEAR(result.first_raw_lh[0], 1.9 / 2.0, 1e-6);
  EXPECT_NEAR(result.first_weighted_lh[0], 0.19 / 0.29, 1e-6);
}

struct Vectors {
  std::int64_t heads = 3, rows = 5, width = 7;
  std::vector<float> attn_hij;
  std::vector<double> u_hjd, x_jd;

  Vectors() {
    Random random(21);
    attn_hij.assign(heads * rows * rows, 0.0f);
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j <= i; ++j)
          attn_hij[(h * rows + i) * rows + j] = static_cast<float>(random.uniform());
    for (std::int64_t n = 0; n < heads * rows * width; ++n) u_hjd.push_back(random.normal());
    for (std::int64_t n = 0; n < rows * width; ++n) x_jd.push_back(random.normal());
  }

  // sum_h A u + [i = j] x
  std::vector<double> mixed(std::int64_t i, std::int64_t j) const {
    std::vector<double> z(width, 0.0);
    for (std::int64_t d = 0; d < width; ++d) {
      for (std::int64_t h = 0; h < heads; ++h)
        z[d] += static_cast<double>(attn_hij[(h * rows + i) * rows + j]) * u_hjd[(h * rows + j) * width + d];
      if (i == j) z[d] += x_jd[j * width + d];
    }
    return z;
  }
};

double norm_of(const std::vector<double>& z) {
  return std::sqrt(std::inner_product(z.begin(), z.end(), z.begin(), 0.0));
}

TEST(LayerNorms, GramFormEqualsTheVectors) {
  const Vectors v;
  const auto norms = layer_norms(v.attn_hij, v.u_hjd, v.x_jd, v.heads, v.rows, v.width);
  for (std::int64_t i = 0; i < v.rows; ++i)
    for (std::int64_t j = 0; j < v.rows; ++j) EXPECT_NEAR(norms[i * v.rows + j], norm_of(v.mixed(i, j)), 1e-9);
  const auto ratio = mixing_ratio(v.attn_hij, v.u_hjd, v.x_jd, v.heads, v.rows, v.width);
  EXPECT_EQ(ratio[0], 0.0) << "the first row has nobody else";
  EXPECT_GT(ratio[4], 0.0);
}

TEST(EncoderNorms, FollowBothNormalisations) {
  const Vectors v;
  EncoderNorms norms;
  for (std::int64_t d = 0; d < v.width; ++d) {
    norms.gain1_d.push_back(0.5 + 0.1 * static_cast<double>(d));
    norms.gain2_d.push_back(1.5 - 0.1 * static_cast<double>(d));
  }
  norms.deviation1_i = {1, 2, 3, 4, 5};
  norms.deviation2_i = {0.5, 0.5, 2, 2, 2};
  const auto found = encoder_norms(v.attn_hij, v.u_hjd, v.x_jd, v.heads, v.rows, v.width, norms);
  for (std::int64_t i = 0; i < v.rows; ++i)
    for (std::int64_t j = 0; j <= i; ++j) {
      auto z = v.mixed(i, j);
      for (int pass = 0; pass < 2; ++pass) {
        const double mean = std::accumulate(z.begin(), z.end(), 0.0) / static_cast<double>(v.width);
        for (std::int64_t d = 0; d < v.width; ++d)
          z[d] = (pass == 0 ? norms.gain1_d : norms.gain2_d)[d] * (z[d] - mean) /
                 (pass == 0 ? norms.deviation1_i : norms.deviation2_i)[i];
      }
      EXPECT_NEAR(found[i * v.rows + j], norm_of(z), 1e-9);
    }
}

TEST(EncoderNorms, AShiftAlongOnesChangesNothing) {
  Vectors v;
  EncoderNorms norms;
  norms.deviation1_i.assign(v.rows, 1.0);
  const auto before = encoder_norms(v.attn_hij, v.u_hjd, v.x_jd, v.heads, v.rows, v.width, norms);
  for (double& u : v.u_hjd) u += 3.0;
  const auto after = encoder_norms(v.attn_hij, v.u_hjd, v.x_jd, v.heads, v.rows, v.width, norms);
  for (std::size_t n = 0; n < before.size(); ++n) EXPECT_NEAR(before[n], after[n], 1e-8);
}

TEST(EncoderNorms, AggregateKeepsRankings) {
  const std::vector<double> layer = {1, 0, 2, 2};
  const auto raw = aggregate_norms(std::vector<std::vector<double>>{layer, layer}, 2, false);
  EXPECT_NEAR(raw[2] / raw[3], (2 * 1 + 2 * 2) / 4.0, 1e-12);
  const auto rows = aggregate_norms(std::vector<std::vector<double>>{layer, layer}, 2, true);
  EXPECT_NEAR(rows[2] + rows[3], 1.0, 1e-12);
}

TEST(CacheScores, E4) {
  capture::MemoryCapture capture;
  write_capture({two_layer_e4()}, capture);
  ThreadPool pool(1);
  const auto scores = cache_scores(capture, 0, {.kernel = 1}, pool);
  EXPECT_THAT(std::vector<double>(scores.h2o_lj.begin(), scores.h2o_lj.begin() + 4),
              ElementsAre(DoubleNear(2.8, 1e-6), DoubleNear(0.7, 1e-6), DoubleNear(0.4, 1e-6), DoubleNear(0.1, 1e-6)));
  EXPECT_NEAR(std::accumulate(scores.h2o_lj.begin(), scores.h2o_lj.begin() + 4, 0.0), 4.0, 1e-6);
  EXPECT_NEAR(scores.per_row_lj[1], 0.7 / 3, 1e-6);
  EXPECT_NEAR(scores.tova_lj[0], 0.7, 1e-5);
  EXPECT_NEAR(scores.snapkv_lj[0], 1.2, 1e-6) << "the window is the last two rows";
  EXPECT_EQ(scores.snapkv_lj[2], 0.0) << "keys of the window do not vote";
}

TEST(CacheScores, PoolingOfVotes) {
  const std::vector<double> tail = {0, 3, 0, 0, 0, 0, 9};
  EXPECT_THAT(snapkv_votes(tail, 6, 3, VotePooling::average), ElementsAre(1, 1, 1, 0, 0, 0, 0));
  EXPECT_THAT(snapkv_votes(tail, 6, 3, VotePooling::maximum), ElementsAre(3, 3, 3, 0, 0, 0, 0));
  EXPECT_THROW(snapkv_votes(tail, 6, 4, VotePooling::average), Error);
}

// log p = 1 for every 7, .1 for every 5, so their removal shows.
double toy_log_prob(std::span<const std::int32_t> tokens) {
  double sum = -10.0;
  for (const auto token : tokens) sum += token == 7 ? 1.0 : token == 5 ? 0.1 : 0.0;
  return sum;
}

TEST(Perturbation, FindsWhatMatters) {
  const std::vector<std::int32_t> tokens = {1, 7, 2, 5};
  EXPECT_THAT(leave_one_out(tokens, {}, toy_log_prob),
              ElementsAre(DoubleNear(0, 1e-12), DoubleNear(1, 1e-12), DoubleNear(0, 1e-12), DoubleNear(0.1, 1e-12)));
  EXPECT_THAT(leave_one_out(tokens, 5, toy_log_prob), ElementsAre(DoubleNear(-0.1, 1e-12), DoubleNear(0.9, 1e-12),
                                                                  DoubleNear(-0.1, 1e-12), DoubleNear(0, 1e-12)));
}

TEST(Perturbation, AGoodAttributionIsFaithful) {
  const std::vector<std::int32_t> tokens = {1, 7, 2, 5, 3, 7, 2, 2, 3, 1};
  const std::vector<double> good = leave_one_out(tokens, {}, toy_log_prob), bad = {1, 0, 1, 0, 1, 0, 1, 1, 1, 1};
  const auto with = faithfulness(tokens, good, {}, toy_log_prob), without = faithfulness(tokens, bad, {}, toy_log_prob);
  EXPECT_LT(with.deletion_area, without.deletion_area);
  EXPECT_GT(with.insertion_area, without.insertion_area);
  EXPECT_GT(with.comprehensiveness, without.comprehensiveness);
  EXPECT_LT(with.sufficiency, without.sufficiency);
  EXPECT_NEAR(with.deletion_p.back(), -10.0, 1e-12) << "half of the tokens hold both 7 and the 5";
  const auto agreement = attribution_agreement(std::vector<std::vector<double>>{good, good, bad});
  EXPECT_DOUBLE_EQ(agreement.spearman_ab[1], 1.0);
  EXPECT_LT(agreement.spearman_ab[2], 0.0);
}

TEST(AttributionAnalyses, RunFromTheRegistry) {
  capture::MemoryCapture capture;
  write_capture({random_record(2, 2, 20, 3)}, capture);
  ThreadPool pool(2);
  for (const char* id :
       {"rollout", "full-rollout", "attention-flow", "norm-weighted", "cache-scores", "attribution-agreement"}) {
    const auto report = run_analysis(require_analysis(id), {capture, 0, pool});
    EXPECT_FALSE(report.series.empty() && report.tables.empty()) << id;
    for (const auto& series : report.series)
      for (const double value : series.values)
        EXPECT_TRUE(value >= series.low - 1e-6 && value <= series.high + 1e-6) << id << " " << series.id;
  }
}

}  // namespace
}  // namespace headlight::analysis
