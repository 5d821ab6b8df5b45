#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/learning/classifiers.h"
#include "analysis/learning/random.h"
#include "analysis/learning/ranking.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

using testing::ElementsAre;

TEST(Ranking, TiesShareTheirRanks) {
  EXPECT_THAT(average_ranks(std::vector<double>{3, 1, 3, 2}), ElementsAre(3.5, 1, 3.5, 2));
  EXPECT_DOUBLE_EQ(spearman(std::vector<double>{1, 2, 3, 4}, std::vector<double>{1, 8, 27, 64}), 1.0);
  EXPECT_DOUBLE_EQ(kendall(std::vector<double>{1, 2, 3}, std::vector<double>{1, 3, 2}), 1.0 / 3.0);
  EXPECT_TRUE(std::isnan(spearman(std::vector<double>{1, 1, 1}, std::vector<double>{1, 2, 3})));
  EXPECT_THAT(largest(std::vector<double>{1, NAN, 5, 5, 2}, 3), ElementsAre(2, 3, 4));
}

TEST(Ranking, RocOfAKnownOrder) {
  const std::vector<double> score = {0.9, 0.8, 0.8, 0.3, 0.1};
  const std::vector<int> label = {1, 1, 0, 0, 1};
  // Pairs: .9 beats both, .8 beats .3 and ties .8, .1 loses both: (2 + 1.5 + 0) / 6.
  EXPECT_DOUBLE_EQ(roc_auc(score, label), 3.5 / 6.0);
  const auto curve = roc_curve(score, label);
  double area = 0.0;
  for (std::size_t n = 1; n < curve.size(); ++n)
    area += 0.5 * (curve[n].true_positive_rate + curve[n - 1].true_positive_rate) *
            (curve[n].false_positive_rate - curve[n - 1].false_positive_rate);
  EXPECT_DOUBLE_EQ(area, 3.5 / 6.0) << "the area under the curve is the probability";
  EXPECT_EQ(curve.size(), 5u);
  EXPECT_TRUE(std::isnan(roc_auc(score, std::vector<int>(5, 1))));
}

TEST(Ranking, GainAndF1) {
  EXPECT_DOUBLE_EQ(ndcg(std::vector<double>{3, 2, 0}, 10), 1.0);
  EXPECT_NEAR(ndcg(std::vector<double>{0, 1}, 10), 1.0 / std::log2(3.0), 1e-12);
  EXPECT_DOUBLE_EQ(macro_f1(std::vector<int>{0, 0, 1, 1}, std::vector<int>{0, 1, 1, 1}), 0.5 * (2.0 / 3.0 + 0.8));
}

TEST(Ranking, BootstrapCoversTheMean) {
  std::vector<double> values;
  Random random(1);
  for (int n = 0; n < 200; ++n) values.push_back(random.normal());
  const auto interval = bootstrap_mean(values, 7);
  EXPECT_LT(interval.low, interval.mean);
  EXPECT_GT(interval.high, interval.mean);
  EXPECT_NEAR(interval.high - interval.low, 2 * 1.96 / std::sqrt(200.0), 0.06);
}

TEST(Splits, KeepTheClasses) {
  std::vector<int> labels(40, 0);
  std::fill(labels.begin(), labels.begin() + 10, 1);
  const Split split = stratified_split(labels, 0.5, 3);
  EXPECT_EQ(split.train.size(), 20u);
  EXPECT_EQ(std::count_if(split.train.begin(), split.train.end(), [&](auto s) { return labels[s] == 1; }), 5);
  const auto folds = stratified_folds(labels, 5, 3);
  for (int fold = 0; fold < 5; ++fold) {
    EXPECT_EQ(std::count(folds.begin(), folds.end(), fold), 8);
    int positives = 0;
    for (std::size_t s = 0; s < labels.size(); ++s) positives += folds[s] == fold && labels[s] == 1;
    EXPECT_EQ(positives, 2);
  }
}

Samples planted_samples(std::int64_t count, std::uint64_t seed, double signal) {
  Random random(seed);
  Samples samples;
  for (std::int64_t s = 0; s < count; ++s) {
    const int label = static_cast<int>(random.below(2));
    std::vector<double> x(20);
    for (double& value : x) value = random.normal();
    x[7] += signal * label;
    samples.add(x, label);
  }
  return samples;
}

TEST(Logistic, IsOptimalAndSparse) {
  const Samples samples = planted_samples(200, 5, 4.0);
  const auto model = fit_logistic(samples, {.c = 0.05});
  ASSERT_TRUE(model.converged);
  EXPECT_GT(model.weight_f[7], 0.3);
  int zeros = 0;
  // Karush-Kuhn-Tucker: |gradient| <= 1 where the weight is 0, = 1 with the opposite sign elsewhere.
  for (std::int64_t f = 0; f < samples.num_features; ++f) {
    double gradient = 0.0;
    for (std::int64_t s = 0; s < samples.size(); ++s) {
      const double y = samples.label_s[s] == 1 ? 1 : -1;
      gradient -= 0.05 * y * samples.row(s)[f] / (1.0 + std::exp(y * model.score(samples.row(s))));
    }
    if (model.weight_f[f] == 0.0) {
      ++zeros;
      EXPECT_LE(std::abs(gradient), 1.0 + 1e-4);
    } else {
      EXPECT_NEAR(gradient, model.weight_f[f] > 0 ? -1.0 : 1.0, 1e-4);
    }
  }
  EXPECT_GE(zeros, 12);
}

TEST(Logistic, CrossValidationFindsThePlantedFeatureAndNothingInNoise) {
  const auto out_of_fold = [](const Samples& samples) {
    const auto folds = stratified_folds(samples.label_s, 5, 0);
    const auto score = cross_validate(samples, folds, [](const Samples& train, const Samples& test) {
      const auto scale = Standardiser::fit(train);
      const auto model = fit_logistic(scale.apply(train), {.c = 0.2});
      const auto scaled = scale.apply(test);
      std::vector<double> scores;
      for (std::int64_t s = 0; s < scaled.size(); ++s) scores.push_back(model.score(scaled.row(s)));
      return scores;
    });
    return roc_auc(score, samples.label_s);
  };
  EXPECT_GT(out_of_fold(planted_samples(200, 5, 4.0)), 0.98);
  EXPECT_NEAR(out_of_fold(planted_samples(200, 6, 0.0)), 0.5, 0.12);
}

TEST(Logistic, RefusesOneClass) {
  Samples samples;
  samples.add(std::vector<double>{1.0}, 1);
  EXPECT_THROW(fit_logistic(samples, {}), Error);
}

TEST(Neighbours, AnExactMatchDecides) {
  Samples train, test;
  for (const double x : {0.0, 0.1, 0.2}) train.add(std::vector<double>{x}, 0);
  train.add(std::vector<double>{1.0}, 1);
  test.add(std::vector<double>{1.0}, 1);
  test.add(std::vector<double>{0.9}, 1);
  EXPECT_THAT(nearest_neighbours(train, test, 4, Metric::euclidean), ElementsAre(1, 1));
  test = {};
  test.add(std::vector<double>{0.5}, 0);  // three at .5, .4, .3 against one at .5
  EXPECT_THAT(nearest_neighbours(train, test, 4, Metric::manhattan), ElementsAre(0));
}

TEST(Perceptron, LearnsWhatNoLineSeparatesAndRepeatsItself) {
  Random random(9);
  Samples samples;
  for (int s = 0; s < 400; ++s) {
    const std::vector<double> x = {random.uniform() * 2 - 1, random.uniform() * 2 - 1};
    samples.add(x, x[0] * x[1] > 0);
  }
  const PerceptronOptions options{.hidden = 32, .batch = 50, .epochs = 200, .learning_rate = 0.01, .seed = 4};
  const auto net = fit_perceptron(samples, options), again = fit_perceptron(samples, options);
  std::vector<double> score;
  for (std::int64_t s = 0; s < samples.size(); ++s) score.push_back(net.probability(samples.row(s)));
  EXPECT_GT(roc_auc(score, samples.label_s), 0.97);
  EXPECT_EQ(net.weight_if, again.weight_if);
}

}  // namespace
}  // namespace headlight::analysis
