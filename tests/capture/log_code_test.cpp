#include "core/capture/log_code.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace headlight::capture {
namespace {

TEST(LogCode, WorkedValues) {
  EXPECT_EQ(encode_log(1.0f), 255);
  EXPECT_EQ(encode_log(0.5f), 239);
  EXPECT_EQ(encode_log(0.1f), 202);
  EXPECT_EQ(encode_log(std::exp2(-16.0f)), 1);
  EXPECT_EQ(encode_log(1e-6f), 0);
  EXPECT_NEAR(decode_log(239), 0.497279, 1e-6);
  EXPECT_NEAR(decode_log(202), 0.098852, 1e-6);
  EXPECT_EQ(decode_log(255), 1.0f);
  EXPECT_EQ(decode_log(0), 0.0f);
}

TEST(LogCode, WhatIsNoProbability) {
  EXPECT_EQ(encode_log(0.0f), 0);
  EXPECT_EQ(encode_log(-1.0f), 0);
  EXPECT_EQ(encode_log(std::numeric_limits<float>::quiet_NaN()), 0);
  EXPECT_EQ(encode_log(1.0000001f), 255);
}

TEST(LogCode, RoundTripIsMonotoneAndWithin221Percent) {
  int before = 0;
  for (double p = std::exp2(-16.0); p <= 1.0; p *= 1.0003) {
    const int code = encode_log(static_cast<float>(p));
    ASSERT_GE(code, before) << p;
    ASSERT_LE(std::abs(decode_log(static_cast<std::uint8_t>(code)) / p - 1.0), 0.0221) << p;
    before = code;
  }
  EXPECT_EQ(before, 255);
}

TEST(LogCode, EveryCodeDecodesToItself) {
  for (int code = 0; code < 256; ++code) EXPECT_EQ(encode_log(decode_log(static_cast<std::uint8_t>(code))), code);
}

}  // namespace
}  // namespace headlight::capture
