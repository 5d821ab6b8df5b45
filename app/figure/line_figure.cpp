#include <QPolygonF>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "app/figure/painters.h"

namespace headlight::figure {
namespace {

constexpr double kPlotWidth = 720.0;
constexpr double kPlotHeight = 300.0;
constexpr double kMinTickDistance = 44.0;

std::int64_t length_of(const LineFigure& figure) {
  std::size_t length = 0;
  for (const LineSeries& series : figure.series) length = std::max(length, series.value_x.size());
  return static_cast<std::int64_t>(length);
}

// The top of the axis is the next tick above the data, so that no line touches the frame.
ValueScale scale_of(const LineFigure& figure) {
  std::vector<float> all;
  for (const LineSeries& series : figure.series) all.insert(all.end(), series.value_x.begin(), series.value_x.end());
  ValueScale scale = choose_scale(all, all, figure.range);
  const std::vector<Tick> ticks = ticks_of(scale, 5);
  if (!figure.range.high && scale.kind == ScaleKind::linear && ticks.size() >= 2) {
    const double step = ticks[1].value - ticks[0].value;
    scale.high = std::ceil(scale.high / step - 1e-6) * step;
    if (scale.low < 0.0) scale.low = std::floor(scale.low / step + 1e-6) * step;
  }
  return scale;
}

std::vector<AxisTick> value_ticks(const ValueScale& scale, double height) {
  std::vector<AxisTick> ticks;
  for (const Tick& tick : ticks_of(scale, 5))
    ticks.push_back({height * (1.0 - scale.position(tick.value)), QString::fromStdString(tick.label)});
  return ticks;
}

double legend_height(const LineFigure& figure) {
  return figure.series.size() > 1 ? line_height(TextRole::tick) + 8.0 : 0.0;
}

struct LineLayout {
  QRectF plot;
  std::vector<AxisTick> x_ticks, y_ticks;
  bool upright = false;
  double cell = 1.0;
};

LineLayout layout_of(const QRectF& area, const LineFigure& figure, const ValueScale& scale) {
  LineLayout layout;
  const auto length = static_cast<double>(std::max<std::int64_t>(1, length_of(figure)));
  const double top = area.top() + kPadding + header_height(figure.text) + legend_height(figure);
  layout.y_ticks = value_ticks(scale, 1.0);
  const double left = area.left() + kPadding + left_axis_width(layout.y_ticks, true);
  const double width = std::max(1.0, area.right() - kPadding - left);
  layout.cell = width / length;
  layout.x_ticks = position_ticks(figure.x, length_of(figure), layout.cell, kMinTickDistance);
  layout.upright = shows_tokens(figure.x, length_of(figure), layout.cell);
  const double bottom =
      area.bottom() - kPadding - footer_height(figure.text) - bottom_axis_height(layout.x_ticks, layout.upright, true);
  layout.plot = QRectF(std::round(left), std::round(top), width, std::max(1.0, std::round(bottom - top)));
  layout.y_ticks = value_ticks(scale, layout.plot.height());
  return layout;
}

// Points of one unbroken run of values; several values on one pixel become their minimum and maximum.
QPolygonF run_points(const std::vector<float>& values, std::size_t begin, std::size_t end, const LineLayout& layout,
                     const ValueScale& scale) {
  QPolygonF points;
  const auto place = [&](std::size_t at, double value) {
    const double y = std::clamp(scale.position(value), 0.0, 1.0);
    points << QPointF(layout.plot.left() + (static_cast<double>(at) + 0.5) * layout.cell,
                      layout.plot.bottom() - y * layout.plot.height());
  };
  const auto group = static_cast<std::size_t>(std::max(1.0, std::floor(0.5 / layout.cell)));
  for (std::size_t at = begin; at < end; at += group) {
    const auto last = values.begin() + static_cast<std::ptrdiff_t>(std::min(end, at + group));
    const auto [low, high] = std::minmax_element(values.begin() + static_cast<std::ptrdiff_t>(at), last);
    place(at, static_cast<double>(*low));
    if (group > 1) place(at, static_cast<double>(*high));
  }
  return points;
}

void draw_series(QPainter& painter, const std::vector<float>& values, const LineLayout& layout, const ValueScale& scale,
                 const QColor& color, bool filled) {
  for (std::size_t begin = 0; begin < values.size();) {
    if (!std::isfinite(values[begin])) {
      ++begin;
      continue;
    }
    std::size_t end = begin;
    while (end < values.size() && std::isfinite(values[end])) ++end;
    const QPolygonF points = run_points(values, begin, end, layout, scale);
    if (filled && points.size() > 1) {
      QColor fill = color;
      fill.setAlphaF(0.12f);
      QPolygonF area = points;
      area << QPointF(points.last().x(), layout.plot.bottom()) << QPointF(points.first().x(), layout.plot.bottom());
      painter.setPen(Qt::NoPen);
      painter.setBrush(fill);
      painter.drawPolygon(area);
    }
    painter.setPen(QPen(color, layout.cell >= 1.0 ? 1.6 : 1.0, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
    painter.setBrush(Qt::NoBrush);
    if (points.size() > 1) painter.drawPolyline(points);
    if (points.size() == 1 || layout.cell >= 14.0) {  // few values: show where they are
      painter.setPen(Qt::NoPen);
      painter.setBrush(color);
      for (const QPointF& point : points) painter.drawEllipse(point, 2.6, 2.6);
    }
    begin = end;
  }
}

void draw_legend(QPainter& painter, const QRectF& plot, const LineFigure& figure, const Theme& theme) {
  if (figure.series.size() < 2) return;
  const double height = line_height(TextRole::tick), top = plot.top() - 8.0 - height;
  double x = plot.left();
  for (std::size_t n = 0; n < figure.series.size(); ++n) {
    const QString name = label_text(figure.series[n].name, TextRole::tick);
    const double width = text_width(name, TextRole::tick);
    painter.fillRect(QRectF(x, top + height / 2 - 1.5, 16.0, 3.0), theme.series[n % theme.series.size()]);
    draw_text(painter, QRectF(x + 22.0, top, width, height), Qt::AlignLeft | Qt::AlignVCenter, name, TextRole::tick,
              theme.text);
    x += 22.0 + width + 18.0;
  }
}

}  // namespace

QSizeF preferred_size(const LineFigure& figure) {
  const LineLayout layout = layout_of(QRectF(0, 0, kPlotWidth + 80.0, 600.0), figure, scale_of(figure));
  return {kPlotWidth + 80.0, std::ceil(600.0 - layout.plot.height() + kPlotHeight)};
}

QRectF line_area(const QRectF& area, const LineFigure& figure) {
  return layout_of(area, figure, scale_of(figure)).plot;
}

void paint(QPainter& painter, const QRectF& area, const LineFigure& figure, const Theme& theme) {
  painter.save();
  painter.fillRect(area, theme.background);
  draw_frame_texts(painter, area, figure.text, theme);
  const ValueScale scale = scale_of(figure);
  const LineLayout layout = layout_of(area, figure, scale);
  painter.setPen(QPen(theme.grid, 1.0));
  for (const AxisTick& tick : layout.y_ticks)
    painter.drawLine(QPointF(layout.plot.left(), layout.plot.top() + tick.at),
                     QPointF(layout.plot.right(), layout.plot.top() + tick.at));
  painter.setPen(QPen(theme.axis, 1.0));
  painter.drawLine(layout.plot.bottomLeft(), layout.plot.bottomRight());
  painter.setRenderHint(QPainter::Antialiasing, true);
  for (std::size_t n = 0; n < figure.series.size(); ++n)
    draw_series(painter, figure.series[n].value_x, layout, scale, theme.series[n % theme.series.size()],
                figure.series.size() == 1 && scale.low >= 0.0);
  painter.setRenderHint(QPainter::Antialiasing, false);
  draw_legend(painter, layout.plot, figure, theme);
  draw_left_axis(painter, layout.plot, layout.y_ticks, figure.value_label, theme);
  draw_bottom_axis(painter, layout.plot, layout.x_ticks, layout.upright, figure.x.title, theme);
  painter.restore();
}

}  // namespace headlight::figure
