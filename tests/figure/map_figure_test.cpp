#include <QGuiApplication>
#include <QImage>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "app/figure/draw.h"
#include "app/figure/painters.h"

namespace headlight::figure {
namespace {

class Painting : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    static int argc = 1;
    static char name[] = "figure_test";
    static char* argv[] = {name, nullptr};
    if (QCoreApplication::instance() == nullptr) new QGuiApplication(argc, argv);  // lives as long as the process
  }
};

template <class Figure>
QImage painted(const Figure& figure, const Theme& theme = light_theme(), double ratio = 1.0) {
  const QSizeF size = preferred_size(figure);
  QImage image((size * ratio).toSize(), QImage::Format_RGB32);
  image.setDevicePixelRatio(ratio);
  image.fill(Qt::magenta);  // whatever stays magenta was not painted
  QPainter painter(&image);
  paint(painter, QRectF(QPointF(0, 0), size), figure, theme);
  return image;
}

MapFigure causal_figure(std::int64_t side) {
  MapFigure figure;
  figure.text = {"layer 0, head 0", "caption", "note"};
  figure.rows = figure.cols = side;
  for (std::int64_t y = 0; y < side; ++y)
    for (std::int64_t x = 0; x < side; ++x) {
      figure.attn_yx.push_back(x <= y ? 1.0f / static_cast<float>(1 + y) : 0.0f);
      figure.visible_yx.push_back(x <= y ? 1 : 0);
    }
  figure.range = {.mode = RangeMode::robust, .low = 0.0, .high = 1.0};
  return figure;
}

// Pixel of a cell, a little off its corner so that numbers in the middle do not matter.
QRgb cell_pixel(const QImage& image, const MapFigure& figure, std::int64_t y, std::int64_t x, double ratio = 1.0) {
  const QRectF plot = map_area(QRectF(QPointF(0, 0), preferred_size(figure)), figure, ratio);
  const double px = plot.left() + (static_cast<double>(x) + 0.2) * plot.width() / static_cast<double>(figure.cols);
  const double py = plot.top() + (static_cast<double>(y) + 0.2) * plot.height() / static_cast<double>(figure.rows);
  return image.pixel(static_cast<int>(px * ratio), static_cast<int>(py * ratio)) & 0xffffffu;
}

QRgb table_color(ColorMap map, double position) {
  const Rgb color = color_table(map)[static_cast<std::size_t>(std::lround(255 * position))];
  return qRgb(color.red, color.green, color.blue) & 0xffffffu;
}

TEST_F(Painting, CellsHaveTheColourOfTheirValue) {
  for (const double ratio : {1.0, 2.0, 1.5}) {
    const MapFigure figure = causal_figure(12);
    const QImage image = painted(figure, light_theme(), ratio);
    for (std::int64_t y = 0; y < 12; ++y)
      for (std::int64_t x = 0; x <= y; ++x)
        ASSERT_EQ(cell_pixel(image, figure, y, x, ratio),
                  table_color(ColorMap::viridis, 1.0 / (1.0 + static_cast<double>(y))))
            << y << " " << x << " ratio " << ratio;
  }
}

TEST_F(Painting, EveryPixelIsPaintedAndTheMarginIsBackground) {
  for (const Theme* theme : {&light_theme(), &dark_theme()})
    for (const std::int64_t side : {1, 2, 12, 40, 200}) {
      const QImage image = painted(causal_figure(side), *theme);
      const QRgb background = theme->background.rgb();
      for (int y = 0; y < image.height(); ++y)
        for (int x = 0; x < image.width(); ++x) {
          ASSERT_NE(image.pixel(x, y), QColor(Qt::magenta).rgb()) << side << " " << x << " " << y;
          const bool margin = x < 8 || y < 8 || x >= image.width() - 8 || y >= image.height() - 8;
          if (margin) {
            ASSERT_EQ(image.pixel(x, y), background) << side << ": something reaches the margin at " << x << " " << y;
          }
        }
    }
}

TEST_F(Painting, MaskedCellsAreHatchedNotColoured) {
  MapFigure figure = causal_figure(6);
  for (std::int64_t x = 0; x < 6; ++x) figure.visible_yx[static_cast<std::size_t>(2 * 6 + x)] = 0;  // a masked row
  const QImage image = painted(figure);
  const QRectF plot = map_area(QRectF(QPointF(0, 0), preferred_size(figure)), figure);
  const double cell = plot.width() / 6;
  std::map<QRgb, int> seen;
  for (int y = 4; y < cell - 4; ++y)
    for (int x = 4; x < 6 * cell - 4; ++x)
      ++seen[image.pixel(static_cast<int>(plot.left()) + x, static_cast<int>(plot.top() + 2 * cell) + y)];
  const Theme& theme = light_theme();
  EXPECT_GT(seen[theme.masked.rgb()], 0);
  EXPECT_GT(seen.size(), 2u);  // ground, line and its soft edge
  for (const auto& [color, count] : seen) {
    EXPECT_LE(qRed(color), theme.masked.red());
    EXPECT_GE(qRed(color), theme.hatch.red()) << "not between ground and hatch";
  }
}

TEST_F(Painting, CellsAboveTheRangeAndMissingCellsAreMarked) {
  MapFigure figure = causal_figure(4);
  figure.range.high = 0.41;
  figure.attn_yx[4 * 3 + 1] = std::nanf("");
  const QImage image = painted(figure);
  const Rgb over = over_color(ColorMap::viridis);
  EXPECT_EQ(cell_pixel(image, figure, 0, 0), qRgb(over.red, over.green, over.blue) & 0xffffffu);
  EXPECT_EQ(cell_pixel(image, figure, 1, 1), qRgb(over.red, over.green, over.blue) & 0xffffffu);
  EXPECT_EQ(cell_pixel(image, figure, 2, 0), table_color(ColorMap::viridis, 1.0 / 3.0 / 0.41));
  const QRgb missing = cell_pixel(image, figure, 3, 1);
  for (const Rgb color : color_table(ColorMap::viridis))
    EXPECT_NE(missing, qRgb(color.red, color.green, color.blue) & 0xffffffu);
}

TEST_F(Painting, RobustRangeIgnoresSinkColumnAndDiagonal) {
  MapFigure figure;
  figure.rows = figure.cols = 50;
  for (std::int64_t y = 0; y < 50; ++y)
    for (std::int64_t x = 0; x < 50; ++x) figure.attn_yx.push_back(x == 0 || x == y ? 0.9f : 0.01f);
  figure.sink_columns = 1;
  const QImage image = painted(figure);
  EXPECT_EQ(cell_pixel(image, figure, 30, 10), table_color(ColorMap::viridis, 1.0));
  const Rgb over = over_color(ColorMap::viridis);
  EXPECT_EQ(cell_pixel(image, figure, 30, 0), qRgb(over.red, over.green, over.blue) & 0xffffffu);
  EXPECT_EQ(cell_pixel(image, figure, 30, 30), qRgb(over.red, over.green, over.blue) & 0xffffffu);
}

TEST_F(Painting, FirstColumnOfALargeMapIsNotCovered) {
  MapFigure figure = causal_figure(1024);
  for (std::size_t n = 0; n < figure.attn_yx.size(); ++n) figure.attn_yx[n] = n % 1024 == 0 ? 1.0f : 0.0f;
  const QImage image = painted(figure);
  const QRectF plot = map_area(QRectF(QPointF(0, 0), preferred_size(figure)), figure);
  EXPECT_EQ(plot.width(), 1024.0);
  EXPECT_EQ(image.pixel(static_cast<int>(plot.left()), static_cast<int>(plot.top()) + 500) & 0xffffffu,
            table_color(ColorMap::viridis, 1.0));
}

TEST_F(Painting, SmallerThanItsCellsKeepsTheLargestValue) {
  MapFigure figure = causal_figure(600);
  for (std::size_t n = 0; n < figure.attn_yx.size(); ++n) figure.attn_yx[n] = n == 400 * 600 + 123 ? 1.0f : 0.0f;
  QImage image(400, 400, QImage::Format_RGB32);
  QPainter painter(&image);
  paint(painter, QRectF(0, 0, 400, 400), figure, light_theme());
  int found = 0;
  for (int y = 0; y < 400; ++y)
    for (int x = 0; x < 300; ++x) found += (image.pixel(x, y) & 0xffffffu) == table_color(ColorMap::viridis, 1.0);
  EXPECT_GE(found, 1);
}

TEST_F(Painting, SizesFollowTheCells) {
  EXPECT_LE(preferred_size(causal_figure(1)).width(), 420.0);
  EXPECT_GE(preferred_size(causal_figure(1)).height(), 200.0);
  for (const std::int64_t side : {12, 40, 200, 500}) {
    const MapFigure figure = causal_figure(side);
    const QRectF plot = map_area(QRectF(QPointF(0, 0), preferred_size(figure)), figure);
    const double cell = plot.width() / static_cast<double>(side);
    EXPECT_EQ(cell, std::round(cell)) << side;
    EXPECT_GE(plot.width(), 450.0) << side;
    EXPECT_LE(plot.width(), 1000.0) << side;
    EXPECT_EQ(plot.width(), plot.height()) << side;
  }
}

TEST_F(Painting, ASingleRowIsAStrip) {
  MapFigure figure;
  figure.rows = 1;
  figure.cols = 300;
  figure.attn_yx.assign(300, 0.5f);
  const QRectF plot = map_area(QRectF(QPointF(0, 0), preferred_size(figure)), figure);
  EXPECT_GE(plot.height(), 24.0);
  EXPECT_LE(plot.height(), 40.0);
}

TEST_F(Painting, TicksAreTokensWhereTheyFitAndRoundPositionsElsewhere) {
  PositionAxis axis{.title = "key", .begin = 95, .step = 1, .tokens = std::vector<std::string>(40, "tok")};
  EXPECT_EQ(position_ticks(axis, 40, 16.0, 50.0).size(), 40u);
  const auto positions = position_ticks(axis, 40, 6.0, 50.0);
  ASSERT_EQ(positions.size(), 4u);
  EXPECT_EQ(positions[0].label, "100");
  EXPECT_DOUBLE_EQ(positions[0].at, 5.5 * 6.0);
  EXPECT_EQ(positions[3].label, "130");
  const auto pooled = position_ticks({.title = "key", .begin = 0, .step = 4}, 1024, 1.0, 56.0);
  EXPECT_EQ(pooled[1].label, "500");
  EXPECT_DOUBLE_EQ(pooled[1].at, 125.0);
  EXPECT_EQ(position_ticks({.title = "key", .begin = 299, .step = 1}, 1, 24.0, 56.0).size(), 1u);
}

TEST_F(Painting, LabelsEscapeWhatCannotBeSeen) {
  EXPECT_EQ(label_text("plain", TextRole::tick), "plain");
  EXPECT_EQ(label_text("a\nb\x7f", TextRole::tick), "a\\u{a}b\\u{7f}");
  EXPECT_EQ(label_text("\xf4\x80\x80\x81", TextRole::tick), "\\u{100001}");  // private use: no font has it
}

TEST_F(Painting, GridShowsEveryHeadAndTheMeans) {
  GridFigure figure;
  figure.rows = 3;
  figure.cols = 4;
  figure.heads_per_group = 2;
  for (int n = 0; n < 12; ++n) figure.value_lh.push_back(static_cast<float>(n) / 11.0f);
  figure.value_lh[5] = std::nanf("");
  figure.text = {"received0", "model", ""};
  figure.value_label = "received0";
  figure.range = {.mode = RangeMode::automatic, .low = 0.0, .high = 1.0};
  std::map<QRgb, int> seen;
  const QImage image = painted(figure);
  for (int y = 0; y < image.height(); ++y)
    for (int x = 0; x < image.width(); ++x) ++seen[image.pixel(x, y) & 0xffffffu];
  for (int n = 0; n < 12; ++n) {
    if (n == 5) continue;
    EXPECT_GT(seen[table_color(ColorMap::viridis, n / 11.0)], 400) << n;  // a cell is 43 x 23 less its number
  }
  EXPECT_GT(seen[light_theme().masked.rgb() & 0xffffffu], 400);
  EXPECT_GT(seen[table_color(ColorMap::viridis, (0.0 + 1.0 + 2.0 + 3.0) / 4.0 / 11.0)], 400);
}

TEST_F(Painting, LinesBreakAtGaps) {
  LineFigure figure;
  figure.text.title = "entropy";
  figure.value_label = "nat";
  figure.series = {{"a", std::vector<float>(200, 0.5f)}};
  for (std::size_t n = 80; n < 120; ++n) figure.series[0].value_x[n] = std::nanf("");
  figure.range = {.mode = RangeMode::automatic, .low = 0.0, .high = 1.0};
  const QImage image = painted(figure);
  int first = -1, last = -1, columns = 0;
  for (int x = 0; x < image.width(); ++x) {
    bool hit = false;
    for (int y = 0; y < image.height(); ++y)
      hit |= qBlue(image.pixel(x, y)) - qRed(image.pixel(x, y)) > 100;  // the first series is blue
    if (!hit) continue;
    first = first < 0 ? x : first;
    last = x;
    ++columns;
  }
  EXPECT_GT(last - first, 600);
  EXPECT_NEAR(columns, 0.8 * (last - first), 12.0);  // 40 of 200 are missing
}

}  // namespace
}  // namespace headlight::figure
