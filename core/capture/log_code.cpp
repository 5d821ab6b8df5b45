#include "core/capture/log_code.h"

#include <algorithm>
#include <cmath>

namespace headlight::capture {
namespace {

constexpr double kSteps = 254.0;

std::array<float, 256> make_table() {
  std::array<float, 256> table{};
  for (std::size_t code = 1; code < table.size(); ++code)
    table[code] = static_cast<float>(std::exp2(kLogCodeRangeLog2 * ((static_cast<double>(code) - 1.0) / kSteps - 1.0)));
  return table;
}

}  // namespace

std::uint8_t encode_log(float p) {
  const double value = p;
  if (!(value >= std::exp2(-kLogCodeRangeLog2))) return 0;  // also NaN
  const double code = 1.0 + std::rint(kSteps * (1.0 + std::log2(value) / kLogCodeRangeLog2));
  return static_cast<std::uint8_t>(std::clamp(code, 1.0, 255.0));
}

const std::array<float, 256>& log_code_table() {
  static const std::array<float, 256> table = make_table();
  return table;
}

}  // namespace headlight::capture
