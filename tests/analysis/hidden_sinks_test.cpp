// Sinks by hidden states, values and scores.
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/sinks/massive_activations.h"
#include "analysis/sinks/register_neurons.h"
#include "analysis/sinks/secondary_sinks.h"
#include "analysis/sinks/value_drain.h"
#include "analysis/sinks/visual_sinks.h"
#include "tests/analysis/worked_example.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;

/// 20 states of 12 tokens; the primary sink's norm rises after state 2 and falls after state 17. Token 7 points its way
/// (or the opposite) in states 5..9, token 9 from 4 to 16, token 10 in 5 and 6.
struct Planted {
  explicit Planted(double sign = 1.0) : norm(20, 1.0), cosine(20 * 12, 0.1) {
    for (std::size_t m = 3; m < 18; ++m) norm[m] = 100.0;
    for (std::size_t m = 5; m <= 9; ++m) cosine[m * 12 + 7] = 0.99 * sign;
    for (std::size_t m = 4; m <= 16; ++m) cosine[m * 12 + 9] = 0.95;
    cosine[5 * 12 + 10] = cosine[6 * 12 + 10] = 0.95;
    cosine[1 * 12 + 8] = 0.99;  // before the rise: not looked at
  }
  std::vector<double> norm, cosine;
};

TEST(SecondarySinks, FindsWhatIsPlanted) {
  for (const double sign : {1.0, -1.0}) {
    const Planted planted(sign);
    const SecondarySinks sinks = secondary_sinks(planted.norm, planted.cosine, 12, 0);
    EXPECT_EQ(sinks.begin, 3);
    EXPECT_EQ(sinks.end, 18);
    ASSERT_EQ(sinks.tokens.size(), 3u) << "token 8 is outside the window";
    EXPECT_EQ(sinks.tokens[0].position, 7);
    EXPECT_EQ(sinks.tokens[0].created, 5);
    EXPECT_EQ(sinks.tokens[0].lifetime, 5);
    EXPECT_EQ(sinks.tokens[0].longest_run, 5);
    EXPECT_EQ(sinks.tokens[0].kind, SinkKind::secondary);
    EXPECT_EQ(sinks.tokens[1].kind, SinkKind::primary_like) << "13 of 15 states";
    EXPECT_EQ(sinks.tokens[2].kind, SinkKind::noise);
  }
}

TEST(SecondarySinks, ConstantsOfTheReleasedProgram) {
  const Planted planted;
  const auto sinks = secondary_sinks(planted.norm, planted.cosine, 12, 0, {.released_constants = true});
  EXPECT_EQ(sinks.tokens[0].kind, SinkKind::primary_like) << "5 >= 20 - 15: the constant needs deep models";
}

TEST(SecondarySinks, RiseInTheLastStateLooksAtWhatIsLeft) {
  const std::vector<double> norm = {1, 1, 1, 50}, cosine = {0, 0, 0, 0, 0, 0, 0, 1};
  const SecondarySinks sinks = secondary_sinks(norm, cosine, 2, 0);
  EXPECT_EQ(sinks.begin, 3);
  EXPECT_EQ(sinks.end, 4);
  EXPECT_EQ(sinks.tokens.size(), 1u);
}

TEST(SecondarySinks, PrimaryIsTheLargerCandidate) {
  const std::vector<double> norm = {1, 5, 9, 2, 4, 9};  // two states of three tokens
  const std::vector<std::int64_t> two = {0, 1}, three = {0, 1, 2};
  EXPECT_EQ(primary_sink(norm, 3, two), 1);
  EXPECT_EQ(primary_sink(norm, 3, three), 2);
}

TEST(SecondarySinks, LevelsAreConnectedCells) {
  std::vector<SecondarySink> tokens;
  for (const auto& [created, lifetime] : {std::pair{5, 6}, {5, 6}, {6, 7}, {12, 9}})
    tokens.push_back({.position = 1, .created = created, .lifetime = lifetime, .kind = SinkKind::secondary});
  tokens.push_back({.position = 1, .created = 7, .lifetime = 7, .kind = SinkKind::noise});
  const auto levels = sink_levels(tokens);
  ASSERT_EQ(levels.size(), 2u);
  EXPECT_THAT(levels[0], ElementsAre(ElementsAre(5, 6, 2), ElementsAre(6, 7, 1))) << "neighbours across a corner";
  EXPECT_THAT(levels[1], ElementsAre(ElementsAre(12, 9, 1)));
  EXPECT_EQ(sink_levels(tokens, 0.3).size(), 1u) << "rare cells are left out";
}

TEST(MassiveActivations, BothThresholds) {
  std::vector<float> x(200, 0.05f);
  x[37] = -150.0f;  // token 3, channel 7
  x[90] = 40.0f;
  x[91] = 40.0f;
  const LevelMagnitudes level = level_magnitudes(x, 10);
  EXPECT_NEAR(level.median, 0.05, 1e-7);
  EXPECT_NEAR(level.ratio(), 3000.0, 0.1);
  ASSERT_EQ(level.massive.size(), 1u) << "40 is 800 medians, but below 100";
  EXPECT_EQ(level.massive[0].token, 3);
  EXPECT_EQ(level.massive[0].dim, 7);
  ASSERT_EQ(level.top.size(), 3u);
  EXPECT_EQ(level.top[0].value, -150.0);
  EXPECT_EQ(level.top[1].dim, 0) << "of equals the earlier one first";
  EXPECT_TRUE(level_magnitudes(std::vector<float>(200, 200.0f), 10).massive.empty()) << "no entry stands out";
}

TEST(ValueDrain, RatioToTheMedian) {
  const std::vector<float> norms = {0.1f, 1.0f, 2.0f, 4.0f, 0.0f, 5.0f, 5.0f, 5.0f};  // two heads of four tokens
  EXPECT_THAT(drain_ratio(norms, 4, 0), ElementsAre(DoubleNear(0.05, 1e-6), 0.0));
  const std::vector<float> even = {1.0f, 2.0f, 4.0f};
  EXPECT_NEAR(drain_ratio(even, 3, 0)[0], 1.0 / 3, 1e-6) << "median of 2 and 4";
  EXPECT_TRUE(std::isnan(drain_ratio(std::vector<float>{1.0f}, 1, 0)[0]));
  const std::vector<float> levels = {6.0f, 2.0f, 3.0f, 1.0f, 4.0f, 2.0f};
  EXPECT_THAT(residual_peak(levels, 3, 0), ElementsAre(2.0, 0.25));
}

TEST(SinkLogit, RunningSumsEqualTheMap) {
  for (const std::int64_t first_key : {0, 2}) {
    const capture::TestShape shape{.num_rows = 24, .head_dim = 6, .first_key = first_key, .scale = 0.4f};
    const WorkedExample run(shape, 17);
    const auto& q = run.reference.q_hid;
    const auto& k = run.reference.k_gjd;
    const SinkLogit found = sink_logit(q, 0, k, 6, run.geometry, 0.4);
    double gap = 0.0, cosine = 0.0, others = 0.0, rows = 0.0;
    const auto dot = [&](const std::vector<float>& a, std::int64_t i, const std::vector<float>& b, std::int64_t j) {
      double sum = 0.0;
      for (std::int64_t d = 0; d < 6; ++d)
        sum += static_cast<double>(a[static_cast<std::size_t>(i * 6 + d)]) *
               static_cast<double>(b[static_cast<std::size_t>(j * 6 + d)]);
      return sum;
    };
    for (std::int64_t i = first_key + 2; i < 24; ++i, rows += 1.0) {
      double mean = 0.0, angle = 0.0;
      const double q_norm = std::sqrt(dot(q, i, q, i));
      for (std::int64_t j = first_key + 1; j < i; ++j) {
        mean += 0.4 * dot(q, i, k, j) / static_cast<double>(i - first_key - 1);
        angle += dot(q, i, k, j) / (q_norm * std::sqrt(dot(k, j, k, j))) / static_cast<double>(i - first_key - 1);
      }
      gap += 0.4 * dot(q, i, k, first_key) - mean;
      cosine += dot(q, i, k, first_key) / (q_norm * std::sqrt(dot(k, first_key, k, first_key)));
      others += angle;
    }
    EXPECT_NEAR(found.gap, gap / rows, 1e-6);
    EXPECT_NEAR(found.cos_first, cosine / rows, 1e-6);
    EXPECT_NEAR(found.cos_other, others / rows, 1e-6);
  }
}

TEST(VisualSinks, StrengthOfTheSinkChannel) {
  const std::vector<float> x = {0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 0.1f, 30.0f, 0.2f};
  const std::vector<int> channels = {6, 7};
  EXPECT_NEAR(sink_dimension_strength(x, 8, channels)[0], 2.82827, 1e-5);
  EXPECT_NEAR(default_tau(4096), 20.0, 1e-12);
}

TEST(VisualSinks, ChannelsOfTheSinkNotThoseOfEveryToken) {
  // 16 channels, 10 tokens: channel 3 large in token 0, channel 5 large everywhere.
  std::vector<float> x(160, 0.1f);
  for (std::size_t t = 0; t < 10; ++t) x[t * 16 + 5] = 5.0f;
  x[3] = 500.0f;
  const auto strength = channel_strength(x, 16);
  EXPECT_GT(strength[3], 3.9);
  EXPECT_LE(strength[5], 1e-6);
  EXPECT_THAT(find_sink_channels(strength, 16), ElementsAre(3));
  EXPECT_THAT(find_sink_channels(channel_strength(std::vector<float>(160, 1.0f), 16), 16), ElementsAre());
}

TEST(VisualSinks, ImageCentricHeads) {
  const std::vector<float> attn = {0.3f, 0.2f, 0.3f, 0.2f};
  const std::vector<std::uint8_t> image = {0, 1, 1, 0}, sinks = {1, 1, 0, 0};
  const ImageRow row = image_row(attn, image, sinks);
  EXPECT_NEAR(row.image, 0.5, 1e-6);
  EXPECT_NEAR(row.rest_share(), 0.6, 1e-6);
  EXPECT_TRUE(is_image_centric(row, {.rho = 0.5}));
  EXPECT_FALSE(is_image_centric(row, {.rho = 0.8}));
  EXPECT_TRUE(is_image_centric(row, {.rho = 0.4, .released = true, .num_image_tokens = 2}))
      << "portion 0.4 of sinks, less a little";
  EXPECT_FALSE(is_image_centric({.image = 0.1, .sinks = 0.0}));
  EXPECT_TRUE(is_image_centric({.image = 0.5, .sinks = 0.1}, {.rho = 0.8})) << "the border belongs to it";
}

TEST(RegisterNeurons, OtsuFindsTheValley) {
  std::vector<double> norms;
  for (int n = 0; n < 200; ++n) norms.push_back(9.0 + 0.01 * n);
  for (int n = 0; n < 10; ++n) norms.push_back(150.0 + n);
  const double threshold = otsu_threshold(norms);
  EXPECT_GT(threshold, 11.0);
  EXPECT_LT(threshold, 150.0);
  const auto outliers = outlier_tokens(norms, threshold);
  EXPECT_EQ(std::count(outliers.begin(), outliers.end(), 1), 10);
}

TEST(RegisterNeurons, ScoreRanksThePlantedNeuron) {
  RegisterScore score(4);
  std::vector<float> act = {0.1f, 0.1f, 0.1f, 0.1f, 0.2f, -9.0f, 0.2f, 0.2f, 0.1f, 0.1f, 0.1f, 0.1f};
  const std::vector<std::uint8_t> outliers = {0, 1, 0}, none = {0, 0, 0};
  score.add_image(act, outliers);
  score.add_image(act, none);  // skipped
  EXPECT_EQ(score.num_images(), 1);
  EXPECT_NEAR(score.score()[1], 9.0, 1e-6);
  EXPECT_NEAR(score.score()[0], 0.2, 1e-6);
  EXPECT_THAT(score.sparsity(), Each(1.0));
}

TEST(RegisterNeurons, EditMovesTheExtremeToTheRegister) {
  const std::vector<float> act = {1.0f, 2.0f, -5.0f, 3.0f, 1.0f, 2.0f};  // three tokens, two neurons
  std::vector<float> edited = act;
  EXPECT_THAT(edit_registers(edited, 2), ElementsAre(-5.0f, 3.0f));
  EXPECT_THAT(edited, Each(0.0f));
  edited = act;
  EXPECT_THAT(edit_registers(edited, 2, {.scale = 2.0, .per_neuron = false, .patches = RegisterEdit::Patches::same}),
              ElementsAre(-10.0f, -10.0f))
      << "one extreme over the block";
  EXPECT_EQ(edited, act);
  edited = act;
  edit_registers(edited, 2, {.patches = RegisterEdit::Patches::only_outliers});
  EXPECT_NEAR(edited[3], 7.0 / 3, 1e-6) << "3 is more than a deviation above the mean";
  EXPECT_EQ(edited[1], 2.0f);
}

}  // namespace
}  // namespace headlight::analysis
