#include "app/figure/value_scale.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace headlight::figure {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::string labels(const ValueScale& scale, int wanted) {
  std::string text;
  for (const Tick& tick : ticks_of(scale, wanted)) text += (text.empty() ? "" : " ") + tick.label;
  return text;
}

TEST(ValueScale, Positions) {
  const ValueScale linear{.low = 1.0, .high = 3.0};
  EXPECT_DOUBLE_EQ(linear.position(2.0), 0.5);
  EXPECT_LT(linear.position(0.0), 0.0);
  EXPECT_GT(linear.position(4.0), 1.0);
  EXPECT_TRUE(std::isnan(linear.position(NAN)));
  const ValueScale log{.kind = ScaleKind::log, .low = 1e-4, .high = 1.0};
  EXPECT_NEAR(log.position(1e-2), 0.5, 1e-12);
  EXPECT_LT(log.position(0.0), 0.0);
  const ValueScale power{.kind = ScaleKind::power, .low = 0.0, .high = 4.0, .gamma = 0.5};
  EXPECT_NEAR(power.position(1.0), 0.5, 1e-12);
}

TEST(ValueScale, TicksAreRoundNumbersInsideTheRange) {
  EXPECT_EQ(labels({.low = 0.0, .high = 1.0}, 5), "0 0.2 0.4 0.6 0.8 1.0");
  EXPECT_EQ(labels({.low = 0.0, .high = 0.0123}, 4), "0 0.005 0.010");
  EXPECT_EQ(labels({.low = -5.0, .high = 5.0}, 4), "-5 0 5");
  EXPECT_EQ(labels({.kind = ScaleKind::log, .low = 1e-5, .high = 1.0}, 8), "1e-05 1e-04 0.001 0.01 0.1 1");
  EXPECT_EQ(labels({.kind = ScaleKind::log, .low = 0.02, .high = 1.0}, 8), "0.02 0.05 0.1 0.2 0.5 1");
  for (const double high : {1e-9, 0.37, 1.0, 17.0, 4096.0, 3e12})
    for (const int wanted : {1, 3, 6}) {
      const auto ticks = ticks_of({.low = 0.0, .high = high}, wanted);
      EXPECT_GE(ticks.size(), 2u) << high;
      EXPECT_LE(static_cast<int>(ticks.size()), wanted + 2) << high;
      for (const Tick& tick : ticks) EXPECT_LE(tick.value, high * (1 + 1e-6));
    }
}

TEST(ValueScale, FormatsShortly) {
  EXPECT_EQ(format_value(0.0), "0");
  EXPECT_EQ(format_value(0.618034), "0.618");
  EXPECT_EQ(format_value(12345.6), "12346");
  EXPECT_EQ(format_value(1.234e-5), "1.23e-05");
  EXPECT_EQ(format_value(NAN), "-");
}

TEST(ChooseScale, RobustLeavesOutlierAndSinksAbove) {
  std::vector<float> core(10000, 0.01f), all;
  core[17] = 0.9f;  // one of ten thousand
  all = core;
  all.push_back(1.0f);  // a sink
  const ValueScale scale = choose_scale(core, all, {});
  EXPECT_EQ(scale.low, 0.0);
  EXPECT_NEAR(scale.high, 0.01, 1e-6);
}

TEST(ChooseScale, NothingIsClippedWhenItWouldGainLittle) {
  const std::vector<float> core(100, 0.6f), all(100, 0.95f);
  EXPECT_NEAR(choose_scale(core, all, {}).high, 0.95, 1e-6);
}

TEST(ChooseScale, AutomaticEndsAtARoundNumber) {
  const std::vector<float> values = {0.03f, 0.98f};
  const ValueScale scale = choose_scale(values, values, {.mode = RangeMode::automatic});
  EXPECT_EQ(scale.low, 0.0);
  EXPECT_NEAR(scale.high, 1.0, 1e-9);
  const ValueScale tight = choose_scale(values, values, {.mode = RangeMode::automatic, .from_zero = false});
  EXPECT_NEAR(tight.low, 0.03, 1e-6);
}

TEST(ChooseScale, FixedEndsWin) {
  const std::vector<float> values = {0.1f, 0.2f};
  const ValueScale scale = choose_scale(values, values, {.low = 0.05, .high = 2.0});
  EXPECT_EQ(scale.low, 0.05);
  EXPECT_EQ(scale.high, 2.0);
}

TEST(ChooseScale, EmptyEqualAndBrokenInputsStillGiveARange) {
  for (const ScaleKind kind : {ScaleKind::linear, ScaleKind::log, ScaleKind::power})
    for (const RangeMode mode : {RangeMode::automatic, RangeMode::robust})
      for (const std::vector<float>& values :
           {std::vector<float>{}, {0.0f, 0.0f}, {kNan, kNan}, {0.5f}, {INFINITY, 0.25f}, {-1.0f, -1.0f}}) {
        const ValueScale scale = choose_scale(values, values, {.mode = mode, .kind = kind});
        EXPECT_LT(scale.low, scale.high);
        EXPECT_TRUE(std::isfinite(scale.low) && std::isfinite(scale.high));
        if (kind == ScaleKind::log) {
          EXPECT_GT(scale.low, 0.0);
        }
      }
}

TEST(ChooseScale, LogSpansAtMostFiveDecades) {
  const std::vector<float> wide = {1e-20f, 1.0f}, narrow = {0.01f, 1.0f};
  EXPECT_NEAR(choose_scale(wide, wide, {.mode = RangeMode::automatic, .kind = ScaleKind::log}).low, 1e-5, 1e-9);
  EXPECT_NEAR(choose_scale(narrow, narrow, {.mode = RangeMode::automatic, .kind = ScaleKind::log}).low, 0.01, 1e-6);
}

}  // namespace
}  // namespace headlight::figure
