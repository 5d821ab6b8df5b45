#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "app/figure/painters.h"

namespace headlight::figure {
namespace {

constexpr double kGroupGap = 4.0;  // between heads of different KV groups
constexpr double kMeanGap = 12.0;  // before the means
constexpr double kMinNumberHeight = 14.0;

struct GridLayout {
  double cell_width = 0, cell_height = 0;
  QRectF cells;                 // heads without means
  double mean_column = 0;       // left edge
  double mean_row = 0;          // top edge
  double left = 0, bottom = 0;  // space of the axes
};

double mean_of(const GridFigure& figure, std::int64_t row, std::int64_t col) {
  double sum = 0.0;
  int n = 0;
  for (std::int64_t y = row < 0 ? 0 : row; y < (row < 0 ? figure.rows : row + 1); ++y)
    for (std::int64_t x = col < 0 ? 0 : col; x < (col < 0 ? figure.cols : col + 1); ++x) {
      const float value = figure.value_lh[static_cast<std::size_t>(y * figure.cols + x)];
      if (!std::isfinite(value)) continue;
      sum += value;
      ++n;
    }
  return n > 0 ? sum / n : NAN;
}

ValueScale scale_of(const GridFigure& figure) {
  return choose_scale(figure.value_lh, figure.value_lh, figure.range);
}

ColorBar bar_of(const GridFigure& figure, const ValueScale& scale) {
  const bool over = std::any_of(figure.value_lh.begin(), figure.value_lh.end(),
                                [&](float value) { return scale.position(value) > 1.0 + 1e-6; });
  return {scale, figure.color_map, figure.value_label, over};
}

QString number_text(double value, double largest) {
  if (largest < 9.995) return QString::number(value, 'f', 2);
  if (largest < 99.95) return QString::number(value, 'f', std::abs(value) < 9.95 ? 1 : 0);
  return QString::number(value, 'f', 0);
}

double largest_of(const GridFigure& figure) {
  double largest = 0.0;
  for (const float value : figure.value_lh)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

std::vector<AxisTick> layer_ticks(const GridFigure& figure, const GridLayout& layout) {
  std::vector<AxisTick> ticks;
  const auto every = static_cast<std::int64_t>(std::ceil(line_height(TextRole::tick) / layout.cell_height));
  for (std::int64_t y = 0; y < figure.rows; y += std::max<std::int64_t>(1, every)) {
    const int layer = figure.layers.empty() ? static_cast<int>(y) : figure.layers[static_cast<std::size_t>(y)];
    ticks.push_back({(static_cast<double>(y) + 0.5) * layout.cell_height, QString::number(layer)});
  }
  if (figure.means)
    ticks.push_back({layout.mean_row - layout.cells.top() + layout.cell_height / 2, QStringLiteral("mean")});
  return ticks;
}

double column_left(const GridFigure& figure, const GridLayout& layout, std::int64_t x) {
  const std::int64_t group = std::max<std::int64_t>(1, figure.heads_per_group);
  const double gaps = figure.heads_per_group > 1 ? static_cast<double>(x / group) * kGroupGap : 0.0;
  return static_cast<double>(x) * layout.cell_width + gaps;
}

std::vector<AxisTick> head_ticks(const GridFigure& figure, const GridLayout& layout) {
  std::vector<AxisTick> ticks;
  const double needed = text_width(QString::number(figure.cols), TextRole::tick) + 8.0;
  const auto every = static_cast<std::int64_t>(std::ceil(needed / layout.cell_width));
  for (std::int64_t x = 0; x < figure.cols; x += std::max<std::int64_t>(1, every))
    ticks.push_back({column_left(figure, layout, x) + layout.cell_width / 2, QString::number(x)});
  if (figure.means)
    ticks.push_back({layout.mean_column - layout.cells.left() + layout.cell_width / 2, QStringLiteral("mean")});
  return ticks;
}

// Everything but the place on the page, for cells of this size.
GridLayout layout_for(const GridFigure& figure, double cell_width, double cell_height) {
  GridLayout layout;
  layout.cell_width = cell_width;
  layout.cell_height = cell_height;
  const double width = column_left(figure, layout, figure.cols - 1) + cell_width;
  layout.cells = QRectF(0, 0, width, cell_height * static_cast<double>(figure.rows));
  layout.mean_column = width + kMeanGap;
  layout.mean_row = layout.cells.height() + kMeanGap;
  layout.left = kPadding + left_axis_width(layer_ticks(figure, layout), true);
  layout.bottom = kPadding + bottom_axis_height(head_ticks(figure, layout), false, true) + footer_height(figure.text);
  return layout;
}

QSizeF plot_size(const GridFigure& figure, const GridLayout& layout) {
  const double column = figure.means ? kMeanGap + layout.cell_width : 0.0;
  const double row = figure.means ? kMeanGap + layout.cell_height : 0.0;
  return {layout.cells.width() + column, layout.cells.height() + row};
}

QSizeF preferred_cell(const GridFigure& figure) {
  const auto rows = static_cast<double>(figure.rows), cols = static_cast<double>(figure.cols);
  return {std::clamp(std::floor(760.0 / cols), 6.0, 44.0), std::clamp(std::floor(720.0 / rows), 6.0, 24.0)};
}

void fill_cell(QPainter& painter, const QRectF& box, double value, const GridFigure& figure, const ValueScale& scale,
               double largest, const Theme& theme) {
  const QRectF inner = box.adjusted(0, 0, box.width() >= 10 ? -1 : 0, box.height() >= 10 ? -1 : 0);
  if (!std::isfinite(value)) {
    painter.fillRect(inner, theme.masked);
    draw_text(painter, inner, Qt::AlignCenter, QStringLiteral("\u2013"), TextRole::cell, theme.missing);
    return;
  }
  const Rgb color = color_of(scale, figure.color_map, static_cast<float>(value));
  painter.fillRect(inner, to_color(color));
  const QString number = number_text(value, largest);
  if (box.height() >= kMinNumberHeight && text_width(number, TextRole::cell) + 6.0 <= box.width())
    draw_text(painter, inner, Qt::AlignCenter, number, TextRole::cell, ink_on(color));
}

void draw_cells(QPainter& painter, const GridFigure& figure, const GridLayout& layout, const ValueScale& scale,
                const Theme& theme) {
  const double largest = largest_of(figure);
  const auto box = [&](double left, double top) { return QRectF(left, top, layout.cell_width, layout.cell_height); };
  for (std::int64_t y = 0; y < figure.rows; ++y) {
    const double top = layout.cells.top() + static_cast<double>(y) * layout.cell_height;
    for (std::int64_t x = 0; x < figure.cols; ++x)
      fill_cell(painter, box(layout.cells.left() + column_left(figure, layout, x), top),
                static_cast<double>(figure.value_lh[static_cast<std::size_t>(y * figure.cols + x)]), figure, scale,
                largest, theme);
    if (figure.means)
      fill_cell(painter, box(layout.mean_column, top), mean_of(figure, y, -1), figure, scale, largest, theme);
  }
  if (!figure.means) return;
  for (std::int64_t x = 0; x < figure.cols; ++x)
    fill_cell(painter, box(layout.cells.left() + column_left(figure, layout, x), layout.mean_row),
              mean_of(figure, -1, x), figure, scale, largest, theme);
  fill_cell(painter, box(layout.mean_column, layout.mean_row), mean_of(figure, -1, -1), figure, scale, largest, theme);
}

}  // namespace

QSizeF preferred_size(const GridFigure& figure) {
  const QSizeF cell = preferred_cell(figure);
  const GridLayout layout = layout_for(figure, cell.width(), cell.height());
  const QSizeF plot = plot_size(figure, layout);
  const double bar = color_bar_width(bar_of(figure, scale_of(figure)), plot.height());
  const double width = layout.left + plot.width() + bar + kPadding;
  const double least =
      color_bar_height(plot.height()) + line_height(TextRole::tick) / 2 + footer_height(figure.text) + kPadding;
  const double words = std::max(text_width(label_text(figure.text.title, TextRole::title), TextRole::title),
                                text_width(label_text(figure.text.caption, TextRole::caption), TextRole::caption));
  return {std::ceil(std::max(width, std::min(words + 2 * kPadding + 2.0, 900.0))),
          std::ceil(kPadding + header_height(figure.text) + std::max(plot.height() + layout.bottom, least))};
}

void paint(QPainter& painter, const QRectF& area, const GridFigure& figure, const Theme& theme) {
  painter.save();
  painter.fillRect(area, theme.background);
  draw_frame_texts(painter, area, figure.text, theme);
  if (figure.rows > 0 && figure.cols > 0) {
    const ValueScale scale = scale_of(figure);
    const ColorBar bar = bar_of(figure, scale);
    const QSizeF wanted = preferred_size(figure), cell = preferred_cell(figure);
    const double grow = std::min(area.width() / wanted.width(), area.height() / wanted.height());
    const auto sized = [&](double side) { return grow >= 1.0 ? side : std::max(1.0, std::floor(side * grow)); };
    GridLayout layout = layout_for(figure, sized(cell.width()), sized(cell.height()));
    const QPointF corner(std::round(area.left() + layout.left),
                         std::round(area.top() + kPadding + header_height(figure.text)));
    layout.cells.moveTopLeft(corner);
    layout.mean_column += corner.x();
    layout.mean_row += corner.y();
    draw_cells(painter, figure, layout, scale, theme);
    const QRectF plot(corner, plot_size(figure, layout));
    draw_left_axis(painter, plot, layer_ticks(figure, layout), "layer", theme);
    draw_bottom_axis(painter, plot, head_ticks(figure, layout), false, "head", theme);
    draw_color_bar(painter, plot, bar, theme);
  }
  painter.restore();
}

}  // namespace headlight::figure
