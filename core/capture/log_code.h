#pragma once

#include <array>
#include <cstdint>

namespace headlight::capture {

/// 8-bit logarithmic code of a probability p in [0, 1], "log2u8":
///
///     code = 0                                       p < 2^-16, masked or NaN
///     code = 1 + rint(254 (1 + log2(p) / 16))        otherwise, clamped to 1..255
///     p   ~= 2^(16 ((code - 1) / 254 - 1))           code > 0
///
/// Monotone, so the maximum of codes is the code of the maximum. One step is a factor 1.0446; the relative error of a
/// round trip is at most 2.21 %.
constexpr int kLogCodeRangeLog2 = 16;

std::uint8_t encode_log(float p);

/// Decoded value of every code; entry 0 is 0, entry 255 is 1.
const std::array<float, 256>& log_code_table();

inline float decode_log(std::uint8_t code) {
  return log_code_table()[code];
}

}  // namespace headlight::capture
