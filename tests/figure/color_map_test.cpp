#include "app/figure/color_map.h"

#include <cmath>

#include <gtest/gtest.h>

namespace headlight::figure {
namespace {

constexpr ColorMap kMaps[] = {ColorMap::viridis, ColorMap::cividis, ColorMap::magma, ColorMap::grey};

double linear_of(std::uint8_t channel) {
  const double c = channel / 255.0;
  return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
}

// Lightness of a colour as seen without one kind of cone ("A Physiologically-based Model for Simulation of Color Vision
// Deficiency", severity 1).
double simulated_lightness(Rgb color, const double (&matrix)[3][3]) {
  const double rgb[] = {linear_of(color.red), linear_of(color.green), linear_of(color.blue)};
  double seen[3] = {};
  for (int n = 0; n < 3; ++n) {
    for (int m = 0; m < 3; ++m) seen[n] += matrix[n][m] * rgb[m];
    seen[n] = std::fmin(1.0, std::fmax(0.0, seen[n]));
  }
  const double y = 0.2126729 * seen[0] + 0.7151522 * seen[1] + 0.0721750 * seen[2];
  return y > 216.0 / 24389.0 ? 116.0 * std::cbrt(y) - 16.0 : 24389.0 / 27.0 * y;
}

constexpr double kProtanopia[3][3] = {
    {0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}};
constexpr double kDeuteranopia[3][3] = {
    {0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}};

TEST(ColorMap, LightnessIsStrictlyMonotoneInEqualSteps) {
  for (const ColorMap map : kMaps) {
    const auto& table = color_table(map);
    const double sign = map == ColorMap::grey ? -1.0 : 1.0;
    const double mean = (lightness(table[255]) - lightness(table[0])) / 255.0;
    for (std::size_t n = 1; n < 256; ++n) {
      const double step = lightness(table[n]) - lightness(table[n - 1]);
      EXPECT_GT(sign * step, 0.0) << to_string(map) << " " << n;
    }
    for (std::size_t n = 8; n < 256; ++n) {  // 8 bits a channel: a single step is rounded, eight of them are not
      const double step = (lightness(table[n]) - lightness(table[n - 8])) / 8.0;
      EXPECT_NEAR(step / mean, 1.0, 0.15) << to_string(map) << " " << n;
    }
  }
}

TEST(ColorMap, OrderSurvivesColourVisionDeficiency) {
  for (const ColorMap map : kMaps) {
    const auto& table = color_table(map);
    const double sign = map == ColorMap::grey ? -1.0 : 1.0;
    for (std::size_t n = 8; n < 256; ++n) {
      for (const auto* matrix : {&kProtanopia, &kDeuteranopia})
        EXPECT_GT(sign * (simulated_lightness(table[n], *matrix) - simulated_lightness(table[n - 8], *matrix)), 0.0)
            << to_string(map) << " " << n;
    }
  }
}

TEST(ColorMap, EndsAreThoseOfThePublishedMaps) {
  const auto near = [](Rgb found, Rgb expected) {
    return std::abs(found.red - expected.red) <= 3 && std::abs(found.green - expected.green) <= 3 &&
           std::abs(found.blue - expected.blue) <= 3;
  };
  EXPECT_TRUE(near(color_table(ColorMap::viridis)[0], {0x44, 0x01, 0x54}));
  EXPECT_TRUE(near(color_table(ColorMap::viridis)[255], {0xFD, 0xE7, 0x25}));
  EXPECT_TRUE(near(color_table(ColorMap::cividis)[0], {0x00, 0x20, 0x4D}));
  EXPECT_TRUE(near(color_table(ColorMap::magma)[255], {0xFC, 0xFD, 0xBF}));
}

TEST(ColorMap, ColourAboveTheRangeIsNoneOfTheMap) {
  for (const ColorMap map : kMaps)
    for (const Rgb color : color_table(map)) {
      const Rgb over = over_color(map);
      const int distance =
          std::abs(color.red - over.red) + std::abs(color.green - over.green) + std::abs(color.blue - over.blue);
      EXPECT_GT(distance, 60) << to_string(map);
    }
}

TEST(ColorMap, NamesGoBothWays) {
  for (const ColorMap map : kMaps) EXPECT_EQ(color_map_named(to_string(map)), map);
  EXPECT_EQ(color_map_named("rainbow"), std::nullopt);
}

TEST(ColorMap, ChangesAreToldBySignAndSize) {
  const auto& table = color_table(ColorMap::change);
  EXPECT_EQ(table[127], table[128]) << "zero";
  EXPECT_GT(lightness(table[127]), 95.0);
  for (std::size_t n = 1; n < 128; ++n) {
    EXPECT_LT(lightness(table[128 + n]), lightness(table[127 + n])) << n;
    EXPECT_LT(lightness(table[127 - n]), lightness(table[128 - n])) << n;
  }
  EXPECT_GT(table[0].blue, table[0].red);
  EXPECT_GT(table[255].red, table[255].blue);
  EXPECT_FALSE(color_map_named("change")) << "no map of plain values";
}

}  // namespace
}  // namespace headlight::figure
