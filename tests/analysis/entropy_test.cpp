#include <algorithm>
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/entropy/block_entropy.h"
#include "analysis/entropy/concentration.h"
#include "analysis/entropy/head_health.h"
#include "analysis/entropy/image_entropy.h"
#include "analysis/entropy/layer_preference.h"
#include "analysis/entropy/row_entropy.h"
#include "analysis/entropy/span.h"
#include "base/error.h"
#include "tests/analysis/worked_example.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

const std::vector<std::vector<float>> kE4 = {{1.0f}, {0.6f, 0.4f}, {0.5f, 0.2f, 0.3f}, {0.7f, 0.1f, 0.1f, 0.1f}};

TEST(OnlineEntropy, WorkedExampleInTwoTiles) {
  OnlineEntropy row;
  row.add(std::vector<double>{2, 0});
  row.add(std::vector<double>{1, 3});
  EXPECT_NEAR(row.lse(), 3.440190, 1e-6);
  EXPECT_NEAR(row.entropy(), 0.947537, 1e-6);
  EXPECT_NEAR(row.sum_squares(), 0.479361, 1e-6);
  EXPECT_NEAR(row.pmax(), 0.643914, 1e-6);
}

TEST(OnlineEntropy, TilesOrderAndConstantsDoNotMatter) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0.0, 4.0);
  std::vector<double> scores(65);
  for (double& s : scores) s = normal(random);
  OnlineEntropy whole;
  whole.add(scores);
  for (const std::size_t tile : {1, 2, 3, 64, 65}) {
    OnlineEntropy tiled, left, right, shifted;
    for (std::size_t begin = 0; begin < scores.size(); begin += tile) {
      const std::span<const double> part(scores.data() + begin, std::min(tile, scores.size() - begin));
      tiled.add(part);
      (begin % 2 == 0 ? left : right).add(part);
      std::vector<double> up(part.begin(), part.end());
      for (double& s : up) s += 50.0;
      shifted.add(up);
    }
    left.merge(right);
    EXPECT_NEAR(tiled.entropy(), whole.entropy(), 1e-12) << tile;
    EXPECT_NEAR(left.entropy(), whole.entropy(), 1e-12) << tile;
    EXPECT_NEAR(left.sum_squares(), whole.sum_squares(), 1e-12) << tile;
    EXPECT_NEAR(shifted.entropy(), whole.entropy(), 1e-10) << tile;
    EXPECT_NEAR(shifted.lse(), whole.lse() + 50.0, 1e-10) << tile;
  }
  EXPECT_GE(whole.entropy(), -std::log(whole.pmax()));
  EXPECT_LE(-std::log(whole.sum_squares()), whole.entropy());
  OnlineEntropy equal;
  equal.add(std::vector<double>(7, -3.0));
  EXPECT_NEAR(equal.entropy(), std::log(7.0), 1e-12);
  EXPECT_EQ(OnlineEntropy().entropy(), 0.0);
}

TEST(RowEntropy, E4AndTheEpsilonOfReleasedPrograms) {
  const double expected[] = {0.0, 0.673012, 1.029653, 0.940448};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::vector<double> row(kE4[i].begin(), kE4[i].end());
    EXPECT_NEAR(row_entropy(row), expected[i], 1e-6);
    EXPECT_LE(row_entropy(row) - row_entropy(row, 1e-8), static_cast<double>(row.size()) * 1e-8 + 1e-12);
  }
}

TEST(RowEntropy, NormsAndSummary) {
  const WorkedExample e4(capture::e4_reference());
  const auto visible = normalized_entropy(e4.row("entropy"), e4.geometry, EntropyNorm::visible);
  EXPECT_TRUE(std::isnan(visible[0]));
  EXPECT_NEAR(visible[1], 0.970951, 1e-5);
  EXPECT_NEAR(visible[3], 0.678390, 1e-5);
  EXPECT_NEAR(normalized_entropy(e4.row("entropy"), e4.geometry, EntropyNorm::context)[1], 0.673012 / std::log(4.0),
              1e-5);
  const EntropySummary summary = summarize_entropy(visible, 1.0);
  EXPECT_NEAR(summary.mean, 0.862190, 1e-5);
  EXPECT_NEAR(summary.quantiles[2], 0.937231, 1.0 / 64);
  EXPECT_TRUE(std::isnan(summarize_entropy(std::vector<double>{std::nan("")}, 1.0).mean));
}

TEST(RowEntropy, AfterScalingTheFirstToken) {
  EXPECT_NEAR(entropy_after_scaling(0.940448, 0.7, 0.5), 1.197238, 1e-5);
  EXPECT_NEAR(entropy_after_scaling(0.940448, 0.7, 1.0), 0.940448, 1e-12);
  EXPECT_NEAR(entropy_after_scaling(0.0, 1.0, 0.5), 0.0, 1e-12);
}

TEST(Concentration, E4LastRow) {
  const Concentration row = concentration(kE4[3], {.counts = {1, 3}, .shares = {0.5}, .levels = {0.7, 0.9, 1.0}});
  EXPECT_NEAR(row.gini, 0.45, 1e-6);
  EXPECT_NEAR(row.participation, 1.923077, 1e-5);
  EXPECT_NEAR(row.effective_support, 2.561129, 1e-5);
  EXPECT_THAT(row.top_mass, ElementsAre(DoubleNear(0.7, 1e-6), DoubleNear(0.9, 1e-6)));
  EXPECT_THAT(row.top_share_mass, ElementsAre(DoubleNear(0.8, 1e-6)));
  EXPECT_THAT(row.coverage, ElementsAre(1, 3, 4));
  const double gini[] = {0.0, 0.1, 0.2, 0.45};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(concentration(kE4[i]).gini, gini[i], 1e-6);
}

std::vector<float> random_row(unsigned seed, std::size_t n, double temperature) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0.0, temperature);
  std::vector<float> row(n);
  double sum = 0.0;
  for (float& a : row) sum += a = static_cast<float>(std::exp(normal(random)));
  for (float& a : row) a = static_cast<float>(static_cast<double>(a) / sum);
  return row;
}

TEST(Concentration, Order) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto row = random_row(seed, 100 + seed, 0.1 + 0.2 * seed);
    const Concentration c = concentration(row);
    EXPECT_LE(1.0, 1.0 / c.pmax + 1e-9);
    EXPECT_LE(1.0 / c.pmax, c.participation * (1 + 1e-6));
    EXPECT_LE(c.participation, c.effective_support * (1 + 1e-6));
    EXPECT_LE(c.effective_support, static_cast<double>(row.size()) * (1 + 1e-5));
  }
}

TEST(Concentration, HistogramIsWithinItsBounds) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto row = random_row(seed, 500, 0.1 + 0.15 * seed);
    WeightHistogram histogram;
    histogram.add(row);
    const Concentration exact = concentration(row, {.counts = {}, .shares = {}, .levels = {0.5, 0.9}});
    EXPECT_NEAR(histogram.gini(), exact.gini, histogram.gini_error() + 1e-6) << seed;
    EXPECT_LE(histogram.gini_error(), 0.0434) << seed;
    const double largest_bin = *std::max_element(histogram.counts().begin(), histogram.counts().end());
    EXPECT_NEAR(histogram.coverage(0.5), static_cast<double>(exact.coverage[0]), largest_bin) << seed;
    EXPECT_NEAR(histogram.coverage(0.9), static_cast<double>(exact.coverage[1]), largest_bin) << seed;
  }
}

TEST(Span, E4Distances) {
  SpanStatistics statistics({1, 2, 4}, 1);
  for (std::int64_t i = 0; i < 4; ++i) statistics.add_row(i, {0, i + 1}, kE4[static_cast<std::size_t>(i)]);
  EXPECT_NEAR(statistics.mean_distance(), 4.2 / 4, 1e-6);
  EXPECT_NEAR(statistics.relative_distance(), (0.6 / 1 + 1.2 / 2 + 2.4 / 3) / 3, 1e-6);
  EXPECT_NEAR(statistics.mean_distance_without_sink(), (0.0 + 0.2 / 0.5 + 0.3 / 0.3) / 3, 1e-6) << "row 0 has no rest";
  EXPECT_THAT(statistics.window_mass(),
              ElementsAre(DoubleNear(1.8 / 4, 1e-6), DoubleNear((1 + 1 + 0.5 + 0.2) / 4, 1e-6), DoubleNear(1.0, 1e-6)));
  EXPECT_NEAR(statistics.octaves()[0], 1.8 / 4, 1e-6);
  EXPECT_NEAR(statistics.octaves()[1], 0.9 / 4, 1e-6);
  EXPECT_NEAR(statistics.octaves()[2], 1.3 / 4, 1e-6);
  EXPECT_EQ(statistics.span(0.4), 1.0);
  EXPECT_EQ(statistics.span(0.6), 2.0);
  EXPECT_EQ(statistics.span(1.0), 4.0);
}

TEST(Span, PreviousTokenHead) {
  SpanStatistics statistics({1, 2}, 0);
  const std::vector<float> row = {0, 0, 1, 0};
  statistics.add_row(3, {0, 4}, row);
  EXPECT_EQ(statistics.mean_distance(), 1.0);
  EXPECT_THAT(statistics.window_mass(), ElementsAre(0.0, 1.0));
  EXPECT_EQ(statistics.span(0.9), 2.0);
  EXPECT_EQ(distance_bin(0), 0);
  EXPECT_EQ(distance_bin(1), 1);
  EXPECT_EQ(distance_bin(3), 2);
  EXPECT_EQ(distance_bin(4), 3);
}

TEST(Span, ElasticFit) {
  const std::vector<double> length = {1000, 2000, 4000}, local = {100, 100, 100}, global = {600, 1100, 2100};
  EXPECT_NEAR(fit_elastic_span(length, local).beta, 0.0, 1e-12);
  const ElasticSpan fit = fit_elastic_span(length, global);
  EXPECT_NEAR(fit.beta, 0.5, 1e-12);
  EXPECT_NEAR(fit.alpha, 100.0, 1e-9);
  EXPECT_NEAR(fit.r_squared, 1.0, 1e-12);
  EXPECT_TRUE(std::isnan(fit_elastic_span(std::vector<double>{5, 5}, std::vector<double>{1, 2}).beta));
}

TEST(HeadHealth, KindsAndAlarm) {
  EXPECT_EQ(head_health(0.95, 0.0), Health::overloaded);
  EXPECT_EQ(head_health(0.01, 0.1), Health::collapsed);
  EXPECT_EQ(head_health(0.01, 0.9), Health::sink) << "it looks at the first tokens: no collapse";
  EXPECT_EQ(head_health(0.5, 0.9), Health::healthy);
  EXPECT_THAT(entropy_bands(std::vector<double>{0.1, 0.9, 1.6, 2.0}, 2.0), ElementsAre(0.25, 0.25, 0.0, 0.5));
  std::vector<Health> model(12, Health::healthy);  // six layers of two heads
  EXPECT_FALSE(health_alarm(model, 6, 2).raised);
  model[0] = Health::overloaded;
  EXPECT_TRUE(health_alarm(model, 6, 2).raised) << "a quarter of the first third";
  model[0] = Health::healthy;
  model[11] = Health::collapsed;
  EXPECT_TRUE(health_alarm(model, 6, 2).raised);
  EXPECT_NEAR(entropy_penalty(std::vector<double>{1.0, 2.0}, 2.0), 0.5, 1e-12) << "1 is on target, 2 is 1 away";
}

TEST(BlockEntropy, UniformOverBlocksIsOne) {
  // Edge 2, four tokens: rows of block 1 give half to each block.
  const std::vector<float> sums = {2, 0, 1, 1};
  const BlockEntropy blocks = block_entropy(sums, 2, {{true, 0, 0}, 4, false});
  EXPECT_EQ(blocks.entropy[0], 0.0);
  EXPECT_TRUE(std::isnan(blocks.normalized[0])) << "one visible block";
  EXPECT_NEAR(blocks.entropy[1], std::log(2.0), 1e-7);
  EXPECT_NEAR(blocks.normalized[1], 1.0, 1e-7);
}

TEST(LayerPreference, WorkedExample) {
  const std::vector<float> rows = {0.5f, 0.2f, 0.7f, 0.1f};
  const WindowMoments moments = window_moments(rows, 2);
  EXPECT_NEAR(moments.dispersion, 1.148392, 1e-5);
  EXPECT_NEAR(moments.shift, 0.025, 1e-7);
  EXPECT_NEAR(moments.kurtosis, 2.0, 1e-5) << "two rows: m4 = m2^2";
  EXPECT_EQ(moments.clamped, 0.0);
  EXPECT_THAT(eviction_indicator(rows, 2), ElementsAre(DoubleNear(4.6, 1e-4), DoubleNear(1.15, 1e-4)));
  EXPECT_NEAR(cake_preference(4.0, 9.0, 2.0, 2.0), 6.0, 1e-12);
  EXPECT_THAT(average_pool(std::vector<double>{5, 0, 0, 0, 0, 10}), ElementsAre(1, 1, 1, 2, 2, 2));
}

TEST(LayerPreference, BudgetsAddUp) {
  EXPECT_THAT(cake_budgets(std::vector<double>{1, 3}, 132, 32, 1000), ElementsAre(50, 150));
  EXPECT_THAT(cake_budgets(std::vector<double>{1, 9}, 132, 32, 120), ElementsAre(80, 120))
      << "what is over goes to the other";
  EXPECT_THAT(cake_budgets(std::vector<double>{1, 1, 1}, 42, 32, 1000), ElementsAre(10, 10, 10));
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    std::exponential_distribution<double> draw(1.0);
    std::vector<double> preference(7);
    for (double& p : preference) p = draw(random);
    const auto budget = cake_budgets(preference, 100, 32, 150);
    std::int64_t sum = 0;
    for (const std::int64_t b : budget) {
      sum += b;
      EXPECT_LE(b, 150);
    }
    EXPECT_EQ(sum, 68 * 7) << seed;
  }
}

TEST(ImageEntropy, MeanOverHeadsFirst) {
  const std::vector<float> heads = {0.4f, 0.0f, 0.0f, 0.4f};  // two heads, each on another token
  EXPECT_NEAR(image_entropy(heads, 2), std::log(2.0), 1e-6);
  EXPECT_TRUE(std::isnan(image_entropy(std::vector<float>(4, 0.0f), 2)));
}

TEST(ImageEntropy, SeparatedGroupsAreFound) {
  std::mt19937 random(11);
  std::normal_distribution<double> normal(0.0, 0.1);
  std::vector<double> one, two;
  for (int n = 0; n < 200; ++n) {
    one.push_back(3.0 + normal(random));
    two.push_back((n < 40 ? 1.0 : 3.0) + normal(random));
  }
  const TwoNormals fit = fit_two_normals(two);
  EXPECT_TRUE(fit.separated());
  EXPECT_NEAR(fit.mean[0], 1.0, 0.05);
  EXPECT_NEAR(fit.mean[1], 3.0, 0.05);
  EXPECT_NEAR(fit.weight[0], 0.2, 0.01);
  EXPECT_FALSE(fit_two_normals(one).separated());
  const TwoNormals same{.mean = {1, 1}, .deviation = {2, 2}, .weight = {0.5, 0.5}};
  EXPECT_NEAR(same.kl(), 0.0, 1e-12);
  EXPECT_THROW(fit_two_normals(std::vector<double>{1.0}), Error);
}

TEST(ImageEntropy, VerdictUsesSensitiveLayersOnly) {
  std::mt19937 random(12);
  std::normal_distribution<double> normal(0.0, 0.1);
  std::vector<double> entropy;  // 50 samples, two layers; the first 10 are poisoned, which layer 1 shows
  for (int s = 0; s < 50; ++s) {
    entropy.push_back(2.0 + normal(random));
    entropy.push_back((s < 10 ? 0.5 : 3.0) + normal(random));
  }
  const ImageVerdict verdict = image_verdict(entropy, 2);
  EXPECT_THAT(verdict.sensitive, ElementsAre(0, 1));
  for (std::size_t s = 0; s < 50; ++s) EXPECT_EQ(verdict.suspicious[s], s < 10 ? 1 : 0) << s;
  std::vector<double> quiet(entropy);
  for (std::size_t at = 1; at < quiet.size(); at += 2) quiet[at] = quiet[at - 1];
  EXPECT_TRUE(image_verdict(quiet, 2).score.empty()) << "no sensitive layer, no verdict";
}

}  // namespace
}  // namespace headlight::analysis
