#pragma once

#include <limits>

namespace headlight::analysis {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();  ///< a value that does not exist; null in JSON

}  // namespace headlight::analysis
