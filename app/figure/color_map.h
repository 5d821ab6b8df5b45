#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace headlight::figure {

/// An opaque colour, 8 bits a channel.
struct Rgb {
  std::uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Rgb&) const = default;
};

/// Sequential maps: viridis, cividis and magma grow lighter with the value, grey (ink on paper) grows darker. change is
/// for signed values on a range symmetric about zero: blue, near white at zero, orange; it grows darker with the size.
enum class ColorMap { viridis, cividis, magma, grey, change };
std::string_view to_string(ColorMap map);
std::optional<ColorMap> color_map_named(std::string_view name);

/// change: mixtures of zero's colour with those of both ends. The others: 256 colours whose CIE lightness runs in equal
/// steps from the first to the last: equal differences of the value look equally large, and the order survives a grey
/// print and colour-vision deficiency. Hue and chroma follow the anchors of the published map (cubic in CIELAB).
const std::array<Rgb, 256>& color_table(ColorMap map);

/// Colour of cells above the range: outside the map's own colours.
Rgb over_color(ColorMap map);

/// CIE 1976 lightness L* of an sRGB colour, 0..100.
double lightness(Rgb color);

}  // namespace headlight::figure
