#include "core/engine/rope.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::engine {
namespace {

using formats::RopeScaling;
using formats::RopeSpec;

std::vector<float> table(const RopeFrequencies& frequencies, std::int64_t first, std::int64_t n) {
  ThreadPool pool(2);
  std::vector<float> out(static_cast<std::size_t>(n) * 2 * frequencies.inv_freq.size());
  fill_rope_table(pool, frequencies, first, n, out.data());
  return out;
}

TEST(Rope, MatchesTheWorkedVector) {
  const auto frequencies = rope_frequencies({10000.0, {}}, 4, 64, 4);
  ASSERT_EQ(frequencies.inv_freq.size(), 2u);
  EXPECT_FLOAT_EQ(frequencies.inv_freq[0], 1.0f);
  EXPECT_FLOAT_EQ(frequencies.inv_freq[1], 0.01f);
  const auto row = table(frequencies, 3, 1);
  EXPECT_NEAR(row[0], -0.9899925f, 1e-7);
  EXPECT_NEAR(row[1], 0.9995500f, 1e-7);
  EXPECT_NEAR(row[2], 0.1411200f, 1e-7);
  EXPECT_NEAR(row[3], 0.0299955f, 1e-7);
}

TEST(Rope, TableDoesNotDependOnWhereACallStarts) {
  const auto frequencies = rope_frequencies({5e5, {}}, 32, 4096, 300);
  const auto whole = table(frequencies, 0, 300), part = table(frequencies, 200, 100);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 200 * 32));
}

TEST(Rope, LinearDividesEveryFrequency) {
  RopeSpec rope{10000.0, {}};
  rope.scaling.kind = RopeScaling::Kind::linear;
  rope.scaling.factor = 4.0;
  const auto plain = rope_frequencies({10000.0, {}}, 16, 64, 8), scaled = rope_frequencies(rope, 16, 64, 8);
  for (std::size_t j = 0; j < 8; ++j) EXPECT_FLOAT_EQ(scaled.inv_freq[j], plain.inv_freq[j] / 4.0f);
}

TEST(Rope, Llama3KeepsHighAndDividesLowFrequencies) {
  RopeSpec rope{500000.0, {}};
  rope.scaling.kind = RopeScaling::Kind::llama3;
  rope.scaling.factor = 8.0;
  rope.scaling.low_freq_factor = 1.0;
  rope.scaling.high_freq_factor = 4.0;
  rope.scaling.original_context = 8192;
  const auto plain = rope_frequencies({500000.0, {}}, 128, 131072, 8);
  const auto scaled = rope_frequencies(rope, 128, 131072, 8);
  EXPECT_EQ(scaled.inv_freq[0], plain.inv_freq[0]);
  EXPECT_FLOAT_EQ(scaled.inv_freq[63], plain.inv_freq[63] / 8.0f);
  const double wavelength = 2.0 * M_PI / static_cast<double>(plain.inv_freq[32]);  // between 2048 and 8192
  ASSERT_GT(wavelength, 2048.0);
  ASSERT_LT(wavelength, 8192.0);
  const double smooth = (8192.0 / wavelength - 1.0) / 3.0;
  const double inv = static_cast<double>(plain.inv_freq[32]);
  EXPECT_NEAR(scaled.inv_freq[32], (1.0 - smooth) * inv / 8.0 + smooth * inv, 1e-9);
}

TEST(Rope, YarnMagnitudeFollowsTheFactorUnlessGiven) {
  RopeSpec rope{10000.0, {}};
  rope.scaling.kind = RopeScaling::Kind::yarn;
  rope.scaling.factor = 4.0;
  rope.scaling.original_context = 16;
  EXPECT_FLOAT_EQ(rope_frequencies(rope, 16, 64, 8).magnitude, static_cast<float>(0.1 * std::log(4.0) + 1.0));
  rope.scaling.mscale = 0.707;
  rope.scaling.mscale_all_dim = 1.0;
  EXPECT_FLOAT_EQ(rope_frequencies(rope, 16, 64, 8).magnitude,
                  static_cast<float>((0.0707 * std::log(4.0) + 1.0) / (0.1 * std::log(4.0) + 1.0)));
  rope.scaling.attention_factor = 1.25;
  EXPECT_FLOAT_EQ(rope_frequencies(rope, 16, 64, 8).magnitude, 1.25f);
}

TEST(Rope, LongropeChoosesFactorsByLength) {
  RopeSpec rope{10000.0, {}};
  rope.scaling.kind = RopeScaling::Kind::longrope;
  rope.scaling.original_context = 16;
  rope.scaling.short_factor = {1.0f, 2.0f};
  rope.scaling.long_factor = {4.0f, 8.0f};
  const auto within = rope_frequencies(rope, 4, 64, 16), beyond = rope_frequencies(rope, 4, 64, 17);
  EXPECT_FLOAT_EQ(within.inv_freq[1], 0.005f);
  EXPECT_FLOAT_EQ(beyond.inv_freq[0], 0.25f);
  EXPECT_FLOAT_EQ(beyond.inv_freq[1], 0.00125f);
  EXPECT_FLOAT_EQ(within.magnitude, static_cast<float>(std::sqrt(1.0 + std::log(4.0) / std::log(16.0))));
  EXPECT_EQ(rope_length_key(rope, 64, 16), rope_length_key(rope, 64, 3));
  EXPECT_NE(rope_length_key(rope, 64, 16), rope_length_key(rope, 64, 17));
  EXPECT_EQ(rope_length_key(rope, 64, 17), rope_length_key(rope, 64, 60));
}

TEST(Rope, DynamicDependsOnEveryLengthBeyondTheOriginalContext) {
  RopeSpec rope{10000.0, {}};
  rope.scaling.kind = RopeScaling::Kind::dynamic;
  rope.scaling.factor = 2.0;
  rope.scaling.original_context = 16;
  EXPECT_EQ(rope_frequencies(rope, 8, 64, 16).inv_freq, rope_frequencies({10000.0, {}}, 8, 64, 16).inv_freq);
  const double theta = 10000.0 * std::pow(2.0 * 32 / 16 - 1.0, 8.0 / 6.0);
  EXPECT_FLOAT_EQ(rope_frequencies(rope, 8, 64, 32).inv_freq[2], static_cast<float>(std::pow(theta, -0.5)));
  EXPECT_NE(rope_length_key(rope, 64, 32), rope_length_key(rope, 64, 33));
}

TEST(Rope, RefusesFactorsOfTheWrongLength) {
  RopeSpec rope{10000.0, {}};
  rope.scaling.kind = RopeScaling::Kind::factors;
  rope.scaling.short_factor = {1.0f};
  try {
    rope_frequencies(rope, 8, 64, 8);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::bad_format);
    EXPECT_STREQ(error.what(), "expected 4 rope factors, found 1");
  }
}

}  // namespace
}  // namespace headlight::engine
