#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/rope/causal_pattern.h"
#include "analysis/rope/matrix_entropy.h"
#include "analysis/rope/rope_planes.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;

std::vector<float> random_rows(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(random);
  return x;
}

TEST(RopePlanes, LengthsDoNotFeelTheRotation) {
  constexpr int kDim = 8;
  std::vector<float> x = random_rows(5, 20 * kDim), rotated = x;
  for (std::int64_t i = 0; i < 20; ++i) unrotate({rotated.data() + i * kDim, kDim}, -i, 0, 10000.0);  // forwards
  const auto before = plane_usage(x, kDim), after = plane_usage(rotated, kDim);
  for (std::size_t f = 0; f < before.size(); ++f) EXPECT_NEAR(before[f], after[f], 1e-5);
  for (std::int64_t i = 0; i < 20; ++i) unrotate({rotated.data() + i * kDim, kDim}, i, 0, 10000.0);
  for (std::size_t at = 0; at < x.size(); ++at) EXPECT_NEAR(rotated[at], x[at], 1e-5) << "there and back";
  double square = 0.0, planes = 0.0;
  for (int d = 0; d < kDim; ++d)
    square += static_cast<double>(x[static_cast<std::size_t>(d)] * x[static_cast<std::size_t>(d)]);
  for (const double u : plane_usage(std::span(x).first(kDim), kDim)) planes += u * u;
  EXPECT_NEAR(planes, square, 1e-5);
}

TEST(RopePlanes, Bands) {
  EXPECT_NEAR(plane_wavelength(0, 64, 10000.0), 6.283185, 1e-5);
  EXPECT_EQ(planes_up_to(64.0, 64, 10000.0), 9) << "2 pi 10000^(f/32) <= 64 up to f = 8";
  EXPECT_EQ(planes_up_to(1.0, 64, 10000.0), 0);
  const std::vector<double> usage = {3, 1, 0, 0};
  EXPECT_NEAR(spectral_centroid(usage), 0.25, 1e-12);
  EXPECT_NEAR(band_usage(usage, 0, 1), 0.75, 1e-12);
  const std::vector<float> q = {1, 1, 0, 0}, k = {2, -1, 0, 0};  // planes (0, 2) and (1, 3): c = 2, -1
  EXPECT_NEAR(band_share(q, k, 1, 1).high, 2.0 / 3, 1e-12);
  EXPECT_NEAR(band_share(q, k, 1, 1).low, 1.0 / 3, 1e-12);
  EXPECT_TRUE(std::isnan(band_share(q, std::vector<float>(4, 0.0f), 1, 1).high));
}

TEST(RopePlanes, ScoresDependOnTheDistanceOnly) {
  std::vector<float> q = random_rows(1, 8), k = random_rows(2, 8);
  const auto score = [&](std::int64_t i, std::int64_t j) {
    std::vector<float> a = q, b = k;
    unrotate(a, -i, 0, 100.0);
    unrotate(b, -j, 0, 100.0);
    double sum = 0.0;
    for (std::size_t d = 0; d < 8; ++d) sum += static_cast<double>(a[d] * b[d]);
    return sum;
  };
  EXPECT_NEAR(score(5, 2), score(13, 10), 1e-5);
  EXPECT_GT(std::abs(score(5, 2) - score(5, 4)), 1e-3);
}

TEST(RopePlanes, Correlation) {
  const std::vector<double> x = {1, 2, 3, std::nan("")}, y = {2, 4, 6, 1};
  EXPECT_NEAR(correlation(x, y), 1.0, 1e-12);
  EXPECT_TRUE(std::isnan(correlation(std::vector<double>{1, 1}, std::vector<double>{1, 2})));
}

TEST(MatrixEntropy, TruncatedRank) {
  const std::vector<double> eigenvalues = {0.7, 0.2, 0.1};
  EXPECT_NEAR(effective_rank(eigenvalues, 2), 1.698433, 1e-6);
  EXPECT_NEAR(effective_rank(eigenvalues, 1), 1.0, 1e-12) << "always, which says nothing";
  EXPECT_NEAR(effective_rank(eigenvalues, 1, RankNorm::trace), std::exp(-0.7 * std::log(0.7)), 1e-12);
  EXPECT_NEAR(effective_rank(std::vector<double>(5, 2.0), 0), 5.0, 1e-9);
}

TEST(MatrixEntropy, IsotropicAndDegenerateKeys) {
  constexpr int kDim = 8;
  const std::vector<float> isotropic = random_rows(3, 4000 * kDim);
  EXPECT_THAT(plane_entropies(isotropic, kDim), Each(DoubleNear(std::log(2.0), 0.01)));
  EXPECT_NEAR(effective_rank(gram_eigenvalues(isotropic, kDim), 0), kDim, 0.1);
  std::vector<float> one_way;
  for (int j = 1; j < 50; ++j)
    for (int d = 0; d < kDim; ++d) one_way.push_back(static_cast<float>(j * (d + 1)));
  EXPECT_THAT(plane_entropies(one_way, kDim), Each(DoubleNear(0.0, 1e-9)));
  EXPECT_NEAR(effective_rank(gram_eigenvalues(one_way, kDim), 0), 1.0, 1e-6);
}

TEST(MatrixEntropy, EigenvaluesKeepTheTrace) {
  const std::vector<float> x = random_rows(9, 37 * 6);
  double trace = 0.0, sum = 0.0;
  for (const float value : x) trace += static_cast<double>(value) * static_cast<double>(value);
  for (const double value : gram_eigenvalues(x, 6)) sum += value;
  EXPECT_NEAR(sum, trace, 1e-9 * trace);
}

TEST(CausalPattern, RelativeFieldLeavesNothing) {
  constexpr std::int64_t n = 12;
  std::vector<double> scores(n * n, std::nan(""));  // above the diagonal nothing may be read
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j <= i; ++j)
      scores[static_cast<std::size_t>(i * n + j)] = -0.5 * static_cast<double>(i - j);
  const CausalPattern pattern = causal_pattern(scores, n);
  EXPECT_NEAR(pattern.eta, 0.0, 1e-12);
  EXPECT_NEAR(pattern.slope, -0.5, 1e-12);
}

TEST(CausalPattern, ColumnsAreNotRelative) {
  constexpr std::int64_t n = 12;
  std::vector<double> scores(n * n, 0.0);
  for (std::int64_t i = 0; i < n; ++i) scores[static_cast<std::size_t>(i * n)] = 5.0;  // a sink
  EXPECT_GT(causal_pattern(scores, n).eta, 0.5);
  EXPECT_TRUE(std::isnan(causal_pattern(scores, n, true).eta)) << "without the first key nothing varies";
}

TEST(CausalPattern, TheMaskAloneFavoursNearTokens) {
  // Independent random tokens with a common component, two layers without parameters: mean scores of layer 2.
  constexpr std::int64_t n = 24;
  constexpr int kDims = 32;
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> mean(n * n, 0.0);
  for (int sample = 0; sample < 400; ++sample) {
    std::vector<double> x(n * kDims);
    for (std::size_t at = 0; at < x.size(); ++at) x[at] = normal(random) + (at % kDims == 0 ? 3.0 : 0.0);
    parameter_free_layer(x, kDims);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j <= i; ++j) {
        double dot = 0.0, a = 0.0, b = 0.0;
        for (std::int64_t d = 0; d < kDims; ++d) {
          const double p = x[static_cast<std::size_t>(i * kDims + d)], q = x[static_cast<std::size_t>(j * kDims + d)];
          dot += p * q;
          a += p * p;
          b += q * q;
        }
        mean[static_cast<std::size_t>(i * n + j)] += dot / std::sqrt(a * b) / 400;
      }
  }
  EXPECT_GT(mean[20 * n + 19], mean[20 * n + 10]);
  EXPECT_LT(causal_pattern(mean, n).slope, 0.0);
  EXPECT_GT(causal_pattern(mean, n).eta, 0.0);
}

}  // namespace
}  // namespace headlight::analysis
