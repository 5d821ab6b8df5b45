#include <QImage>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "app/figure/painters.h"

namespace headlight::figure {
namespace {

constexpr double kTargetSide = 640.0;
constexpr double kMinCellForNumbers = 44.0;
constexpr double kMinCellForLines = 14.0;
constexpr double kTickDistance = 56.0;
constexpr double kHatchPeriod = 7.0;
constexpr double kDotPeriod = 6.0;
constexpr double kMinStrip = 24.0;  // a single row is still a strip one can see

struct Cell {
  double width = 1.0, height = 1.0;
};

struct Margins {
  double left = 0, top = 0, right = 0, bottom = 0;
  std::vector<AxisTick> query_ticks, key_ticks;
  bool upright = false;  // key labels read upwards
};

bool is_visible(const MapFigure& figure, std::int64_t y, std::int64_t x) {
  return figure.visible_yx.empty() || figure.visible_yx[static_cast<std::size_t>(y * figure.cols + x)] != 0;
}

float value_at(const MapFigure& figure, std::int64_t y, std::int64_t x) {
  return figure.attn_yx[static_cast<std::size_t>(y * figure.cols + x)];
}

bool same_tokens(const MapFigure& figure, std::int64_t y, std::int64_t x) {
  const std::int64_t query = figure.query.begin + y * figure.query.step, key = figure.key.begin + x * figure.key.step;
  return query < key + figure.key.step && key < query + figure.query.step;
}

// Scale, and how many visible cells lie above it.
struct MapScale {
  ValueScale scale;
  std::int64_t num_over = 0;
};

MapScale scale_of(const MapFigure& figure) {
  std::vector<float> core, all;
  for (std::int64_t y = 0; y < figure.rows; ++y)
    for (std::int64_t x = 0; x < figure.cols; ++x) {
      if (!is_visible(figure, y, x)) continue;
      all.push_back(value_at(figure, y, x));
      const bool sink = figure.key.begin + x * figure.key.step < figure.sink_columns;
      if (!sink && !same_tokens(figure, y, x)) core.push_back(all.back());
    }
  MapScale result{choose_scale(core, all, figure.range)};
  result.num_over =
      std::count_if(all.begin(), all.end(), [&](float value) { return result.scale.position(value) > 1.0 + 1e-6; });
  return result;
}

ColorBar bar_of(const MapFigure& figure, const MapScale& scale) {
  return {scale.scale, figure.color_map, figure.value_label, scale.num_over > 0};
}

FigureText text_of(const MapFigure& figure, const MapScale& scale) {
  FigureText text = figure.text;
  if (scale.num_over == 0) return text;
  if (!text.note.empty()) text.note += "  |  ";
  text.note += std::to_string(scale.num_over) + (scale.num_over == 1 ? " cell" : " cells") + " above the colour range";
  return text;
}

Margins margins_of(const MapFigure& figure, const MapScale& scale, const Cell& cell) {
  Margins margins;
  margins.query_ticks = position_ticks(figure.query, figure.rows, cell.height, kTickDistance);
  margins.key_ticks = position_ticks(figure.key, figure.cols, cell.width, kTickDistance);
  double widest = 0.0;
  for (const AxisTick& tick : margins.key_ticks) widest = std::max(widest, text_width(tick.label, TextRole::tick));
  margins.upright = shows_tokens(figure.key, figure.cols, cell.width) && widest + 6.0 > cell.width;
  const FigureText text = text_of(figure, scale);
  margins.left = kPadding + left_axis_width(margins.query_ticks, true);
  margins.top = kPadding + header_height(text);
  margins.right = kPadding + color_bar_width(bar_of(figure, scale), cell.height * static_cast<double>(figure.rows));
  const double plot = cell.height * static_cast<double>(figure.rows);
  const double below = std::max(bottom_axis_height(margins.key_ticks, margins.upright, true),
                                color_bar_height(plot) - plot + line_height(TextRole::tick) / 2);
  margins.bottom = kPadding + below + footer_height(text);
  return margins;
}

Cell preferred_cell(const MapFigure& figure) {
  const auto longest = static_cast<double>(std::max<std::int64_t>({figure.rows, figure.cols, 1}));
  const double side = std::clamp(std::round(kTargetSide / longest), 1.0, std::max(48.0, std::floor(150.0 / longest)));
  Cell cell{side, side};
  if (cell.height * static_cast<double>(figure.rows) < kMinStrip)
    cell.height = std::ceil(kMinStrip / static_cast<double>(std::max<std::int64_t>(1, figure.rows)));
  return cell;
}

// Largest cell that fits beside the margins; whole device pixels when it is at least one.
Cell fitting_cell(const QRectF& area, const MapFigure& figure, const Margins& margins, double ratio) {
  const double width = (area.width() - margins.left - margins.right) / static_cast<double>(figure.cols);
  const double height = (area.height() - margins.top - margins.bottom) / static_cast<double>(figure.rows);
  const auto whole = [&](double size) {
    size = std::max(size, 1e-3);
    return size * ratio >= 1.0 ? std::floor(size * ratio + 1e-6) / ratio : size;
  };
  const double side = whole(std::min(width, height));
  Cell cell{side, side};
  if (side * static_cast<double>(figure.rows) < kMinStrip)
    cell.height = whole(std::min(height, kMinStrip / static_cast<double>(figure.rows)));
  return cell;
}

struct MapLayout {
  Cell cell;
  Margins margins;
  QRectF plot;
};

MapLayout layout_of(const QRectF& area, const MapFigure& figure, const MapScale& scale, double ratio) {
  MapLayout layout;
  layout.cell = preferred_cell(figure);
  for (int pass = 0; pass < 3; ++pass) {  // labels depend on the cell, the cell on the space labels leave
    layout.margins = margins_of(figure, scale, layout.cell);
    layout.cell = fitting_cell(area, figure, layout.margins, ratio);
  }
  layout.margins = margins_of(figure, scale, layout.cell);
  layout.plot = QRectF(std::round((area.left() + layout.margins.left) * ratio) / ratio,
                       std::round((area.top() + layout.margins.top) * ratio) / ratio,
                       layout.cell.width * static_cast<double>(figure.cols),
                       layout.cell.height * static_cast<double>(figure.rows));
  return layout;
}

QRgb blend(const QColor& ground, const QColor& ink, double amount) {
  const auto mix = [&](int a, int b) { return static_cast<int>(std::lround(a + (b - a) * amount)); };
  return qRgb(mix(ground.red(), ink.red()), mix(ground.green(), ink.green()), mix(ground.blue(), ink.blue()));
}

// Diagonal lines of one pixel, antialiased; (x, y) in logical pixels.
QRgb hatch_pixel(double x, double y, double ratio, const Theme& theme) {
  const double along = std::fmod(x + y, kHatchPeriod);
  const double distance = std::min(along, kHatchPeriod - along) / std::sqrt(2.0);  // to the nearest line
  return blend(theme.masked, theme.hatch, std::clamp(0.5 + (0.5 - distance) * ratio, 0.0, 1.0));
}

QRgb dot_pixel(double x, double y, const Theme& theme) {
  const double dx = std::fmod(x, kDotPeriod) - kDotPeriod / 2, dy = std::fmod(y, kDotPeriod) - kDotPeriod / 2;
  return blend(theme.masked, theme.missing, std::clamp(1.5 - std::hypot(dx, dy), 0.0, 1.0));
}

// Cells under one pixel of a side: one where cells are larger than pixels, several where they are smaller.
struct CellSpan {
  std::int64_t begin = 0, end = 1;
};
std::vector<CellSpan> cells_under_pixels(std::int64_t pixels, std::int64_t cells) {
  std::vector<CellSpan> spans;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const std::int64_t begin = p * cells / pixels;
    spans.push_back({begin, std::max(begin + 1, (p + 1) * cells / pixels)});
  }
  return spans;
}

// The map as pixels of the device: one place decides between data, hatch (masked) and dots (not recorded), and
// magnified cells keep hard edges in every format. Where several cells fall on a pixel the largest wins.
QImage render_cells(const MapFigure& figure, const ValueScale& scale, const QSizeF& size, double ratio,
                    const Theme& theme) {
  const auto width = std::max<std::int64_t>(1, std::lround(size.width() * ratio));
  const auto height = std::max<std::int64_t>(1, std::lround(size.height() * ratio));
  QImage image(static_cast<int>(width), static_cast<int>(height), QImage::Format_RGB32);
  const auto columns = cells_under_pixels(width, figure.cols), rows = cells_under_pixels(height, figure.rows);
  for (std::int64_t py = 0; py < height; ++py) {
    auto* line = reinterpret_cast<QRgb*>(image.scanLine(static_cast<int>(py)));
    const CellSpan row = rows[static_cast<std::size_t>(py)];
    for (std::int64_t px = 0; px < width; ++px) {
      const CellSpan column = columns[static_cast<std::size_t>(px)];
      bool visible = false;
      float largest = NAN;
      for (std::int64_t y = row.begin; y < row.end; ++y)
        for (std::int64_t x = column.begin; x < column.end; ++x) {
          if (!is_visible(figure, y, x)) continue;
          visible = true;
          const float value = value_at(figure, y, x);
          if (std::isnan(largest) || std::abs(value) > std::abs(largest)) largest = value;
        }
      const double x = (static_cast<double>(px) + 0.5) / ratio, y = (static_cast<double>(py) + 0.5) / ratio;
      if (!visible) {
        line[px] = hatch_pixel(x, y, ratio, theme);
      } else if (std::isnan(largest)) {
        line[px] = dot_pixel(x, y, theme);
      } else {
        const Rgb color = color_of(scale, figure.color_map, largest);
        line[px] = qRgb(color.red, color.green, color.blue);
      }
    }
  }
  return image;
}

QString cell_text(float value) {
  if (value == 0.0f) return QStringLiteral("0");
  if (std::abs(value) < 0.005f) return value > 0.0f ? QStringLiteral("<.01") : QStringLiteral("0");
  return QString::number(static_cast<double>(value), 'f', 2);
}

void draw_cell_numbers(QPainter& painter, const MapFigure& figure, const MapLayout& layout, const ValueScale& scale) {
  for (std::int64_t y = 0; y < figure.rows; ++y)
    for (std::int64_t x = 0; x < figure.cols; ++x) {
      const float value = value_at(figure, y, x);
      if (!is_visible(figure, y, x) || std::isnan(value)) continue;
      const QRectF box(layout.plot.left() + static_cast<double>(x) * layout.cell.width,
                       layout.plot.top() + static_cast<double>(y) * layout.cell.height, layout.cell.width,
                       layout.cell.height);
      draw_text(painter, box, Qt::AlignCenter, cell_text(value), TextRole::cell,
                ink_on(color_of(scale, figure.color_map, value)));
    }
}

// Lines between cells, left out where both neighbours are masked.
void draw_cell_lines(QPainter& painter, const MapFigure& figure, const MapLayout& layout, const Theme& theme) {
  QColor color = theme.background;
  color.setAlphaF(0.35f);
  const double width = layout.cell.width, height = layout.cell.height;
  for (std::int64_t y = 0; y < figure.rows; ++y)
    for (std::int64_t x = 0; x < figure.cols; ++x) {
      const QPointF corner(layout.plot.left() + static_cast<double>(x) * width,
                           layout.plot.top() + static_cast<double>(y) * height);
      if (x > 0 && (is_visible(figure, y, x) || is_visible(figure, y, x - 1)))
        painter.fillRect(QRectF(corner - QPointF(0.5, 0.0), QSizeF(1.0, height)), color);
      if (y > 0 && (is_visible(figure, y, x) || is_visible(figure, y - 1, x)))
        painter.fillRect(QRectF(corner - QPointF(0.0, 0.5), QSizeF(width, 1.0)), color);
    }
}

}  // namespace

QSizeF preferred_size(const MapFigure& figure) {
  const MapScale scale = scale_of(figure);
  const Cell cell = preferred_cell(figure);
  const Margins margins = margins_of(figure, scale, cell);
  const double width = margins.left + cell.width * static_cast<double>(figure.cols) + margins.right;
  const double height = margins.top + cell.height * static_cast<double>(figure.rows) + margins.bottom;
  const FigureText text = text_of(figure, scale);
  double words = 0.0;
  words = std::max(words, text_width(label_text(text.title, TextRole::title), TextRole::title));
  words = std::max(words, text_width(label_text(text.caption, TextRole::caption), TextRole::caption));
  words = std::max(words, text_width(label_text(text.note, TextRole::note), TextRole::note));
  return {std::ceil(std::max(width, std::min(words + 2 * kPadding + 2.0, 900.0))), std::ceil(height)};
}

QRectF map_area(const QRectF& area, const MapFigure& figure, double device_pixel_ratio) {
  return layout_of(area, figure, scale_of(figure), device_pixel_ratio).plot;
}

void paint(QPainter& painter, const QRectF& area, const MapFigure& figure, const Theme& theme) {
  painter.save();
  painter.fillRect(area, theme.background);
  const MapScale scale = scale_of(figure);
  draw_frame_texts(painter, area, text_of(figure, scale), theme);
  if (figure.rows > 0 && figure.cols > 0) {
    const double ratio = pixel_ratio(painter);
    const MapLayout layout = layout_of(area, figure, scale, ratio);
    painter.drawImage(layout.plot, render_cells(figure, scale.scale, layout.plot.size(), ratio, theme));
    const double smaller = std::min(layout.cell.width, layout.cell.height);
    if (smaller >= kMinCellForLines) draw_cell_lines(painter, figure, layout, theme);
    if (smaller >= kMinCellForNumbers) draw_cell_numbers(painter, figure, layout, scale.scale);
    draw_frame(painter, layout.plot, theme.axis);
    draw_left_axis(painter, layout.plot, layout.margins.query_ticks, figure.query.title, theme);
    draw_bottom_axis(painter, layout.plot, layout.margins.key_ticks, layout.margins.upright, figure.key.title, theme);
    draw_color_bar(painter, layout.plot, bar_of(figure, scale), theme);
  }
  painter.restore();
}

}  // namespace headlight::figure
