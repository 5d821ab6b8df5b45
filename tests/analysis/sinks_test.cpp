// Sinks by what keys receive and by the mass of rows.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/sinks/census.h"
#include "analysis/sinks/dormant_heads.h"
#include "analysis/sinks/epsilon_sink.h"
#include "analysis/sinks/gate_audit.h"
#include "analysis/sinks/hidden_sinks.h"
#include "analysis/sinks/moving_sinks.h"
#include "analysis/sinks/over_mixing.h"
#include "analysis/sinks/window_mass.h"
#include "tests/analysis/worked_example.h"

namespace headlight::analysis {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;

capture::LayerGeometry causal(std::int64_t num_rows, std::int64_t window = 0, std::int64_t first_key = 0) {
  return {{true, window, first_key}, num_rows, false};
}

TEST(HiddenSinks, FirstTokenIsNeverOne) {
  // alpha of E4: 0.7, 0.2333, 0.2, 0.1
  const std::vector<double> alpha = {0.7, 0.233333, 0.2, 0.1};
  const auto sinks = [&](const HiddenSinkOptions& options) { return hidden_sinks(alpha, causal(4), options); };
  EXPECT_THAT(sinks({.min_rows = 1}), ElementsAre(0, 1, 1, 0)) << "0.1 is not strictly above 0.1";
  EXPECT_THAT(sinks({.threshold = 0.21, .min_rows = 1}), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(sinks({.min_rows = 3}), ElementsAre(0, 1, 0, 0)) << "key 2 is seen by two rows";
  EXPECT_THAT(sinks({.relative = true, .share = 0.5, .min_rows = 1}), ElementsAre(0, 1, 1, 0)) << "theta = 0.5 / 4";
  EXPECT_THAT(sinks({.relative = true, .min_rows = 1}), Each(0)) << "5 / 4 is more than anything";
}

TEST(HiddenSinks, ReleasedProgramDropsTheFirstItFinds) {
  const std::vector<double> alpha = {0.05, 0.6, 0.3, 0.2};
  EXPECT_THAT(hidden_sinks(alpha, causal(4), {.min_rows = 1}), ElementsAre(0, 1, 1, 1));
  EXPECT_THAT(hidden_sinks(alpha, causal(4), {.min_rows = 1, .drop_first_found = true}), ElementsAre(0, 0, 1, 1))
      << "token 0 is no sink here, so a real one is lost";
}

TEST(HiddenSinks, Mass) {
  const std::vector<float> received = {2.8f, 0.7f, 0.4f, 0.1f};
  const std::vector<std::uint8_t> sinks = {0, 1, 1, 0};
  EXPECT_NEAR(hidden_sink_mass(sinks, received, causal(4))[0], 1.1 / 4, 1e-6);
}

TEST(WindowMass, PartsSumToOne) {
  for (const std::int64_t window : {0, 6})
    for (const std::int64_t first_key : {0, 3})
      for (const std::int64_t local : {2, 5, 64}) {
        const WorkedExample run({.num_rows = 40,
                                 .window = window,
                                 .first_key = first_key,
                                 .sink_size = 3,
                                 .local_window = static_cast<int>(local)},
                                5);
        const WindowMass mass =
            window_mass(run.row("sink"), run.row("local"), run.row("null_mass"), run.geometry, 3, local);
        EXPECT_NEAR(mass.sink_h[0] + mass.recent_h[0] + mass.middle_h[0], 1.0, 1e-5)
            << window << " " << first_key << " " << local;
        EXPECT_GE(mass.middle_h[0], -1e-6);
        double sink = 0.0, recent = 0.0;  // straight from the map
        for (std::int64_t i = first_key + 3; i < 40; ++i)
          for (std::int64_t j = first_key; j <= i; ++j) {
            const double attn = run.reference.attn(0, i, j);
            if (j < first_key + 3)
              sink += attn;
            else if (j > i - local)
              recent += attn;
          }
        EXPECT_NEAR(mass.sink_h[0], sink / static_cast<double>(37 - first_key), 1e-5);
        EXPECT_NEAR(mass.recent_h[0], recent / static_cast<double>(37 - first_key), 1e-5)
            << window << " " << first_key << " " << local;
      }
}

TEST(WindowMass, ShortTextIsUndefined) {
  const WorkedExample run({.num_rows = 3, .sink_size = 4}, 5);
  EXPECT_TRUE(
      std::isnan(window_mass(run.row("sink"), run.row("local"), run.row("null_mass"), run.geometry, 4, 256).sink_h[0]));
}

TEST(DormantHeads, RowsAndThresholds) {
  const std::vector<float> first = {1.0f, 0.6f, 0.5f, 0.7f};  // E4
  EXPECT_NEAR(dormant_rows(first, causal(4), 0.5)[0], 2.0 / 3, 1e-12) << "row 0 does not count, 0.5 is not above 0.5";
  EXPECT_EQ(dormancy_of(0.8), Dormancy::dormant);
  EXPECT_EQ(dormancy_of(0.4), Dormancy::active);
  EXPECT_EQ(dormancy_of(0.5), Dormancy::between);
  EXPECT_EQ(dormancy_of(std::nan("")), Dormancy::undefined);
  const std::vector<double> domains = {0.9, 0.5, 0.2, 0.5, std::nan(""), std::nan("")};  // three domains, two heads
  EXPECT_THAT(dormancy_contrast(domains, 2), ElementsAre(DoubleNear(0.7, 1e-12), DoubleNear(0.0, 1e-12)));
}

TEST(ColumnEntropy, E4) {
  ColumnEntropy columns(causal(4));
  const std::vector<std::vector<float>> rows = {{1.0f}, {0.6f, 0.4f}, {0.5f, 0.2f, 0.3f}, {0.7f, 0.1f, 0.1f, 0.1f}};
  for (std::int64_t i = 0; i < 4; ++i) columns.add_row({0, i + 1}, rows[static_cast<std::size_t>(i)]);
  EXPECT_THAT(columns.normalized(),
              ElementsAre(DoubleNear(0.975281, 1e-6), DoubleNear(0.869916, 1e-6), DoubleNear(0.811278, 1e-6), 0.0));
  EXPECT_TRUE(is_sink_like(0.3, 0.975));
  EXPECT_FALSE(is_sink_like(0.4, 0.975));
  EXPECT_FALSE(is_sink_like(0.3, 0.95));
}

TEST(MovingSinks, WorkedExample) {
  const std::vector<double> colsum = {2.8, 0.4, 0.6, 0.2};
  EXPECT_THAT(sink_margin(colsum), ElementsAre(DoubleNear(0.6, 1e-9), DoubleNear(-0.2, 1e-9),
                                               DoubleNear(-0.133333, 1e-6), DoubleNear(-0.266667, 1e-6)));
  EXPECT_THAT(bidirectional_sinks(colsum, 3.0, SinkScale::percent), ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(bidirectional_sinks(colsum, 3.0), Each(0)) << "4/3 (2.8 - 1) = 2.4";
  EXPECT_THAT(bidirectional_sinks(colsum, 2.3), ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(sink_margin(std::vector<double>{1.0}), ElementsAre(0.0));
}

TEST(MovingSinks, PathOverSteps) {
  const std::vector<double> steps = {3, 1, 0, 0, 3, 1, 0, 0, 1, 3, 0, 0, 0, 0, 1, 3};  // argmax 0, 0, 1, 3
  const SinkMotion motion = sink_motion(steps, 4);
  EXPECT_THAT(motion.path, ElementsAre(0, 0, 1, 3));
  EXPECT_NEAR(motion.stability, 1.0 / 3, 1e-12);
  EXPECT_NEAR(motion.drift, 1.0, 1e-12);
  EXPECT_NEAR(motion.lifetime, 4.0 / 3, 1e-12);
  const std::vector<std::uint8_t> sinks = {1, 1, 0, 1}, masked = {1, 0, 1, 1};
  EXPECT_NEAR(masked_share(sinks, masked), 2.0 / 3, 1e-12);
}

TEST(OverMixing, IsTheColumnSumOfTheRollout) {
  // Two layers, two heads each, dense product in float64.
  constexpr std::int64_t kTokens = 9;
  std::vector<capture::DenseReference> layers;
  for (unsigned l = 0; l < 2; ++l) {
    layers.emplace_back(capture::TestShape{.num_rows = kTokens, .num_heads = 2, .num_kv_heads = 1});
    layers.back().fill_random(40 + l, 1.0f);
    layers.back().compute();
  }
  const auto mixed = [&](std::size_t l, std::int64_t i, std::int64_t j, bool rest) {
    double sum = 0.0;
    for (int h = 0; h < 2; ++h) {
      const double attn = layers[l].attn(h, i, j), first = layers[l].attn(h, i, 0);
      if (!rest)
        sum += attn;
      else if (i > 0 && j > 0)
        sum += attn / (1.0 - first);
    }
    return 0.5 * (sum / 2 + (i == j ? 1.0 : 0.0));
  };
  MixingSpread spread(kTokens, 0);
  for (std::size_t l = 2; l-- > 0;) {
    for (int h = 0; h < 2; ++h)
      for (std::int64_t i = 0; i < kTokens; ++i) {
        std::vector<float> attn;
        for (std::int64_t j = 0; j <= i; ++j) attn.push_back(static_cast<float>(layers[l].attn(h, i, j)));
        spread.add_row(i, {0, i + 1}, attn);
      }
    spread.end_layer(2);
  }
  for (const bool rest : {false, true})
    for (std::int64_t source = rest ? 1 : 0; source < kTokens; ++source) {
      double expected = 0.0;
      for (std::int64_t j = source + 1; j < kTokens; ++j)
        for (std::int64_t k = source; k <= j; ++k) expected += mixed(1, j, k, rest) * mixed(0, k, source, rest);
      const auto found = rest ? spread.without_sink() : spread.with_sink();
      EXPECT_NEAR(found[static_cast<std::size_t>(source)], expected, 1e-5) << source << (rest ? " without sink" : "");
    }
}

TEST(RankCollapse, SameTokensHaveCollapsed) {
  const std::vector<float> same = {1, 2, 1, 2, 1, 2}, apart = {1, 0, -1, 0};
  EXPECT_NEAR(rank_collapse(same, 2).mu, 0.0, 1e-12);
  EXPECT_NEAR(rank_collapse(apart, 2).mu, std::sqrt(2.0), 1e-12);
  EXPECT_NEAR(rank_collapse(apart, 2).relative, 1.0, 1e-12);
  const std::vector<float> moved = {1, 3, -1, 4};
  EXPECT_THAT(state_distance(apart, moved, 2), ElementsAre(3.0, 4.0));
}

TEST(GateAudit, EffectiveShareIsWhatIsWritten) {
  const std::vector<double> gate = {1.0, 0.05, 0.5}, first = {0.2, 0.9, 0.4};
  const GateStatistics statistics = gate_statistics(gate, first);
  EXPECT_NEAR(statistics.mean, 1.55 / 3, 1e-12);
  EXPECT_NEAR(statistics.closed, 1.0 / 3, 1e-12);
  EXPECT_NEAR(statistics.first, 0.5, 1e-12);
  EXPECT_NEAR(statistics.effective_first, (0.2 + 0.045 + 0.2) / 3, 1e-12);
  EXPECT_THAT(statistics.histogram, ElementsAre(1, 0, 0, 0, 0, 1, 0, 0, 0, 1));
}

TEST(Census, Agreement) {
  const std::vector<SinkFlag> flags = {
      {"a", {1, 1, 0, 0}, {}, {}}, {"b", {1, 0, 1, 0}, {}, {}}, {"c", {0, 0, 0, 0}, {}, {}}};
  const std::vector<double> overlap = jaccard(flags);
  EXPECT_EQ(overlap[0], 1.0);
  EXPECT_NEAR(overlap[1], 1.0 / 3, 1e-12);
  EXPECT_EQ(overlap[2], 0.0);
  EXPECT_TRUE(std::isnan(overlap[8]));
}

}  // namespace
}  // namespace headlight::analysis
