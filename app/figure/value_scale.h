#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace headlight::figure {

enum class ScaleKind { linear, log, power };

/// Maps a value to 0..1 along a colour bar or axis.
struct ValueScale {
  ScaleKind kind = ScaleKind::linear;
  double low = 0.0, high = 1.0;  ///< low < high; log: 0 < low
  double gamma = 0.5;            ///< exponent of the power scale

  /// 0 at low, 1 at high; below 0 and above 1 outside; NaN stays NaN.
  double position(double value) const;
};

struct Tick {
  double value = 0.0;
  std::string label;
};

/// Ticks at 1, 2 or 5 times a power of ten (log: at powers of ten, and 2 and 5 times them when there are few), labelled
/// with just enough digits to tell them apart. At most `wanted` + 2.
std::vector<Tick> ticks_of(const ValueScale& scale, int wanted);

/// Short text of a value: "0.62", "1.2e-05", "13 400".
std::string format_value(double value, int digits = 3);

/// How the range of a picture is found when it is not given.
enum class RangeMode {
  automatic,  ///< 0 or the smallest value, up to a round number above the largest
  robust,     ///< up to the 99.9 % quantile, or to the largest value if that is less than twice as much
};

struct RangeOptions {
  RangeMode mode = RangeMode::robust;
  std::optional<double> low = {}, high = {};  ///< fixed ends win
  ScaleKind kind = ScaleKind::linear;
  double gamma = 0.5;
  bool from_zero = true;  ///< linear and power: low = 0 unless values are negative
};

/// Scale for values; NaN and infinite ones are ignored. `core` is what the quantile is taken of; `all` is used instead
/// when it is empty. Always gives low < high; a log scale starts at the 0.1 % quantile of positive values (automatic:
/// the smallest), at most five decades below its end.
ValueScale choose_scale(std::span<const float> core, std::span<const float> all, const RangeOptions& options);

}  // namespace headlight::figure
