#include "app/figure/color_map.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace headlight::figure {
namespace {

struct Lab {
  double l = 0, a = 0, b = 0;
};

double linear_of(std::uint8_t channel) {
  const double c = channel / 255.0;
  return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
}

double gamma_of(double c) {
  return c <= 0.0031308 ? 12.92 * c : 1.055 * std::pow(c, 1.0 / 2.4) - 0.055;
}

double lab_curve(double t) {
  return t > 216.0 / 24389.0 ? std::cbrt(t) : (24389.0 / 27.0 * t + 16.0) / 116.0;
}

double lab_inverse(double t) {
  return t > 6.0 / 29.0 ? t * t * t : (116.0 * t - 16.0) * 27.0 / 24389.0;
}

// sRGB with its white point D65.
Lab to_lab(Rgb color) {
  const double r = linear_of(color.red), g = linear_of(color.green), b = linear_of(color.blue);
  const double x = lab_curve((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.9504559);
  const double y = lab_curve(0.2126729 * r + 0.7151522 * g + 0.0721750 * b);
  const double z = lab_curve((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.0890578);
  return {116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)};
}

std::uint8_t to_channel(double linear) {
  return static_cast<std::uint8_t>(std::clamp(std::lround(255.0 * gamma_of(std::clamp(linear, 0.0, 1.0))), 0L, 255L));
}

Rgb to_rgb(const Lab& lab) {
  const double fy = (lab.l + 16.0) / 116.0;
  const double x = 0.9504559 * lab_inverse(fy + lab.a / 500.0), y = lab_inverse(fy);
  const double z = 1.0890578 * lab_inverse(fy - lab.b / 200.0);
  return {to_channel(3.2404542 * x - 1.5371385 * y - 0.4985314 * z),
          to_channel(-0.9692660 * x + 1.8760108 * y + 0.0415560 * z),
          to_channel(0.0556434 * x - 0.2040259 * y + 1.0572252 * z)};
}

constexpr Rgb hex(std::uint32_t code) {
  return {static_cast<std::uint8_t>(code >> 16), static_cast<std::uint8_t>(code >> 8 & 0xff),
          static_cast<std::uint8_t>(code & 0xff)};
}

// Evenly spaced colours of the published maps.
constexpr Rgb kViridis[] = {hex(0x440154), hex(0x482878), hex(0x3E4989), hex(0x31688E), hex(0x26828E),
                            hex(0x1F9E89), hex(0x35B779), hex(0x6DCD59), hex(0xB4DE2C), hex(0xFDE725)};
constexpr Rgb kCividis[] = {hex(0x00204D), hex(0x00336F), hex(0x39486B), hex(0x575C6D), hex(0x707173),
                            hex(0x8A8779), hex(0xA69D75), hex(0xC4B56C), hex(0xE4CF5B), hex(0xFFEA46)};
constexpr Rgb kMagma[] = {hex(0x000004), hex(0x180F3D), hex(0x440F76), hex(0x721F81), hex(0x9E2F7F),
                          hex(0xCD4071), hex(0xF1605D), hex(0xFD9668), hex(0xFECA8D), hex(0xFCFDBF)};
constexpr Rgb kGrey[] = {hex(0xF4F4F4), hex(0x101010)};

std::span<const Rgb> anchors_of(ColorMap map) {
  switch (map) {
    case ColorMap::viridis:
      return kViridis;
    case ColorMap::cividis:
      return kCividis;
    case ColorMap::magma:
      return kMagma;
    case ColorMap::grey:
      return kGrey;
    case ColorMap::change:
      break;  // make_change_table()
  }
  return kViridis;
}

// Cubic through (x, y) with slopes of the parabola through each point and its neighbours.
double interpolate(const std::vector<double>& x, const std::vector<double>& y, double at) {
  const std::size_t n = x.size();
  std::size_t k = 0;
  while (k + 2 < n && at > x[k + 1]) ++k;
  const auto secant = [&](std::size_t i) { return (y[i + 1] - y[i]) / (x[i + 1] - x[i]); };
  const auto slope = [&](std::size_t i) {
    if (i == 0) return secant(0);
    if (i == n - 1) return secant(n - 2);
    const double left = x[i] - x[i - 1], right = x[i + 1] - x[i];
    return (secant(i - 1) * right + secant(i) * left) / (left + right);
  };
  const double width = x[k + 1] - x[k], t = (at - x[k]) / width, s = 1.0 - t;
  return s * s * (1.0 + 2.0 * t) * y[k] + t * t * (3.0 - 2.0 * t) * y[k + 1] + s * s * t * width * slope(k) -
         t * t * s * width * slope(k + 1);
}

// The 8-bit colour near `target` whose lightness is closest: rounding each channel alone would make steps uneven
// (and greys repeat).
Rgb snap(const Lab& target) {
  const Rgb centre = to_rgb(target);
  Rgb best = centre;
  double best_cost = 1e9;
  const auto moved = [](std::uint8_t channel, int by) { return std::clamp(channel + by, 0, 255); };
  for (int r = -2; r <= 2; ++r)
    for (int g = -1; g <= 1; ++g)
      for (int b = -2; b <= 2; ++b) {
        const Rgb candidate{static_cast<std::uint8_t>(moved(centre.red, r)),
                            static_cast<std::uint8_t>(moved(centre.green, g)),
                            static_cast<std::uint8_t>(moved(centre.blue, b))};
        const Lab lab = to_lab(candidate);
        const double cost = 40.0 * std::abs(lab.l - target.l) + std::abs(lab.a - target.a) + std::abs(lab.b - target.b);
        if (cost < best_cost) {
          best_cost = cost;
          best = candidate;
        }
      }
  return best;
}

std::array<Rgb, 256> make_table(ColorMap map) {
  std::vector<double> l, a, b;
  for (const Rgb anchor : anchors_of(map)) {
    const Lab lab = to_lab(anchor);
    l.push_back(lab.l);
    a.push_back(lab.a);
    b.push_back(lab.b);
  }
  std::array<Rgb, 256> table{};
  for (std::size_t n = 0; n < table.size(); ++n) {
    const double at = l.front() + (l.back() - l.front()) * static_cast<double>(n) / 255.0;
    table[n] = snap({at, interpolate(l, a, at), interpolate(l, b, at)});
  }
  return table;
}

constexpr Rgb kLess = hex(0x00538F), kSame = hex(0xF6F6F4), kMore = hex(0xB34700);

// An even number of colours has none at zero: the two in the middle are both that of zero.
std::array<Rgb, 256> make_change_table() {
  std::array<Rgb, 256> table{};
  for (int n = 0; n < 128; ++n) {
    const auto mix = [&](std::uint8_t from, std::uint8_t to) {
      return static_cast<std::uint8_t>(std::lround(from + (to - from) * n / 127.0));
    };
    const auto side = [&](Rgb end) {
      return Rgb{mix(kSame.red, end.red), mix(kSame.green, end.green), mix(kSame.blue, end.blue)};
    };
    table[static_cast<std::size_t>(127 - n)] = side(kLess);
    table[static_cast<std::size_t>(128 + n)] = side(kMore);
  }
  return table;
}

}  // namespace

std::string_view to_string(ColorMap map) {
  switch (map) {
    case ColorMap::viridis:
      return "viridis";
    case ColorMap::cividis:
      return "cividis";
    case ColorMap::magma:
      return "magma";
    case ColorMap::grey:
      return "grey";
    case ColorMap::change:
      return "change";
  }
  return "viridis";
}

std::optional<ColorMap> color_map_named(std::string_view name) {
  for (const ColorMap map : {ColorMap::viridis, ColorMap::cividis, ColorMap::magma, ColorMap::grey})
    if (to_string(map) == name) return map;
  return std::nullopt;
}

const std::array<Rgb, 256>& color_table(ColorMap map) {
  static const std::array<std::array<Rgb, 256>, 5> tables = {make_table(ColorMap::viridis),
                                                             make_table(ColorMap::cividis), make_table(ColorMap::magma),
                                                             make_table(ColorMap::grey), make_change_table()};
  return tables[static_cast<std::size_t>(map)];
}

Rgb over_color(ColorMap map) {
  switch (map) {
    case ColorMap::viridis:
      return hex(0xFF7A1A);
    case ColorMap::cividis:
      return hex(0xF0506E);
    case ColorMap::magma:
      return hex(0x2BC4E0);
    case ColorMap::grey:
      return hex(0xE8590C);
    case ColorMap::change:
      return hex(0x7A2E00);
  }
  return hex(0xFF7A1A);
}

double lightness(Rgb color) {
  return to_lab(color).l;
}

}  // namespace headlight::figure
