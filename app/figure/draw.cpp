#include "app/figure/draw.h"

#include <QFontMetricsF>
#include <QPaintEngine>
#include <algorithm>
#include <cmath>

namespace headlight::figure {
namespace {

constexpr double kBarWidth = 14.0;
constexpr double kBarGap = 18.0;  // between plot and bar
constexpr double kMinBarHeight = 96.0;
constexpr double kMaxTokenWidth = 96.0;
constexpr double kMinTokenCell = 12.0;

double widest(const std::vector<AxisTick>& ticks) {
  double width = 0.0;
  for (const AxisTick& tick : ticks) width = std::max(width, text_width(tick.label, TextRole::tick));
  return width;
}

std::vector<QString> bar_labels(const std::vector<Tick>& ticks) {
  std::vector<QString> labels;
  for (const Tick& tick : ticks) labels.push_back(QString::fromStdString(tick.label));
  return labels;
}

// A title beside a plot that is too short for it says nothing when cut to a few letters.
bool fits(const QString& text, double length) {
  return text_width(text, TextRole::axis_title) <= length + 1.0;
}

int bar_ticks_wanted(double height) {
  return std::clamp(static_cast<int>(height / 70.0), 2, 8);
}

}  // namespace

QString label_text(const std::string& utf8, TextRole role) {
  const QFontMetricsF metrics(font_of(role));
  QString label;
  for (const char32_t code : QString::fromUtf8(utf8.data(), static_cast<qsizetype>(utf8.size())).toStdU32String()) {
    const bool shown = code >= 0x20 && code != 0x7f && metrics.inFontUcs4(code);
    label += shown ? QString::fromUcs4(&code, 1) : QStringLiteral("\\u{%1}").arg(static_cast<uint>(code), 0, 16);
  }
  return label;
}

QString elided(const QString& text, TextRole role, double width) {
  return QFontMetricsF(font_of(role)).elidedText(text, Qt::ElideRight, width);
}

double text_width(const QString& text, TextRole role) {
  return QFontMetricsF(font_of(role)).horizontalAdvance(text);
}

double line_height(TextRole role) {
  return std::ceil(QFontMetricsF(font_of(role)).height());
}

void draw_text(QPainter& painter, const QRectF& box, int alignment, const QString& text, TextRole role,
               const QColor& color) {
  painter.setFont(font_of(role));
  painter.setPen(color);
  painter.drawText(box, alignment | Qt::TextSingleLine | Qt::TextDontClip, text);
}

void draw_text_upwards(QPainter& painter, const QRectF& box, int alignment, const QString& text, TextRole role,
                       const QColor& color) {
  painter.save();
  painter.translate(box.left(), box.bottom());
  painter.rotate(-90.0);
  draw_text(painter, QRectF(0.0, 0.0, box.height(), box.width()), alignment, text, role, color);
  painter.restore();
}

double header_height(const FigureText& text) {
  const double title = text.title.empty() ? 0.0 : line_height(TextRole::title) + 4.0;
  const double caption = text.caption.empty() ? 0.0 : line_height(TextRole::caption) + 4.0;
  return title + caption + (title + caption > 0.0 ? 8.0 : 0.0);
}

double footer_height(const FigureText& text) {
  return text.note.empty() ? 0.0 : line_height(TextRole::note) + 8.0;
}

void draw_frame_texts(QPainter& painter, const QRectF& area, const FigureText& text, const Theme& theme) {
  const QRectF inner = area.adjusted(kPadding, kPadding, -kPadding, -kPadding);
  double y = inner.top();
  const auto line = [&](const std::string& words, TextRole role, const QColor& color) {
    if (words.empty()) return;
    const double height = line_height(role);
    draw_text(painter, QRectF(inner.left(), y, inner.width(), height), Qt::AlignLeft | Qt::AlignVCenter,
              elided(label_text(words, role), role, inner.width()), role, color);
    y += height + 4.0;
  };
  line(text.title, TextRole::title, theme.text);
  line(text.caption, TextRole::caption, theme.muted);
  y = inner.bottom() - line_height(TextRole::note);
  line(text.note, TextRole::note, theme.muted);
}

bool shows_tokens(const PositionAxis& axis, std::int64_t cells, double cell) {
  return cell >= kMinTokenCell && static_cast<std::int64_t>(axis.tokens.size()) == cells;
}

std::vector<AxisTick> position_ticks(const PositionAxis& axis, std::int64_t cells, double cell, double min_distance) {
  std::vector<AxisTick> ticks;
  if (shows_tokens(axis, cells, cell)) {
    for (std::int64_t c = 0; c < cells; ++c)
      ticks.push_back({(static_cast<double>(c) + 0.5) * cell,
                       elided(label_text(axis.tokens[static_cast<std::size_t>(c)], TextRole::tick), TextRole::tick,
                              kMaxTokenWidth)});
    return ticks;
  }
  // Steps of 1, 2 or 5 times a power of ten tokens, far enough apart.
  std::int64_t power = 1, step = 1;
  const auto distance = [&] { return static_cast<double>(step) * cell / static_cast<double>(axis.step); };
  for (int n = 1; distance() < min_distance && n < 60; ++n) {
    if (n % 3 == 0) power *= 10;
    step = power * (n % 3 == 0 ? 1 : n % 3 == 1 ? 2 : 5);
  }
  const std::int64_t end = axis.begin + cells * axis.step;
  for (std::int64_t position = (axis.begin + step - 1) / step * step; position < end; position += step) {
    // One token per cell: its middle. Several: the place of the token on the continuous axis.
    const double offset = axis.step == 1 ? 0.5 : 0.0;
    ticks.push_back({(static_cast<double>(position - axis.begin) / static_cast<double>(axis.step) + offset) * cell,
                     QString::number(position)});
  }
  if (ticks.empty() && cells > 0) ticks.push_back({0.5 * cell, QString::number(axis.begin)});
  return ticks;
}

double left_axis_width(const std::vector<AxisTick>& ticks, bool title) {
  return widest(ticks) + kTickLength + kLabelGap + (title ? line_height(TextRole::axis_title) + 6.0 : 0.0);
}

double bottom_axis_height(const std::vector<AxisTick>& ticks, bool upright, bool title) {
  const double labels = upright ? widest(ticks) : line_height(TextRole::tick);
  return labels + kTickLength + kLabelGap + (title ? line_height(TextRole::axis_title) + 6.0 : 0.0);
}

void draw_left_axis(QPainter& painter, const QRectF& plot, const std::vector<AxisTick>& ticks, const std::string& title,
                    const Theme& theme) {
  const double width = widest(ticks), height = line_height(TextRole::tick);
  for (const AxisTick& tick : ticks) {
    const double y = plot.top() + tick.at;
    painter.setPen(QPen(theme.axis, 1.0));
    painter.drawLine(QPointF(plot.left() - kTickLength, y), QPointF(plot.left() - 1.0, y));
    draw_text(painter, QRectF(plot.left() - kTickLength - kLabelGap - width, y - height / 2, width, height),
              Qt::AlignRight | Qt::AlignVCenter, tick.label, TextRole::tick, theme.text);
  }
  const QString words = label_text(title, TextRole::axis_title);
  if (!fits(words, plot.height())) return;
  const double line = line_height(TextRole::axis_title);
  draw_text_upwards(painter,
                    QRectF(plot.left() - kTickLength - kLabelGap - width - 6.0 - line, plot.top(), line, plot.height()),
                    Qt::AlignCenter, words, TextRole::axis_title, theme.muted);
}

void draw_bottom_axis(QPainter& painter, const QRectF& plot, const std::vector<AxisTick>& ticks, bool upright,
                      const std::string& title, const Theme& theme) {
  const double width = widest(ticks), height = line_height(TextRole::tick);
  const double top = plot.bottom() + kTickLength + kLabelGap;
  for (const AxisTick& tick : ticks) {
    const double x = plot.left() + tick.at;
    painter.setPen(QPen(theme.axis, 1.0));
    painter.drawLine(QPointF(x, plot.bottom() + 1.0), QPointF(x, plot.bottom() + kTickLength));
    if (upright)
      draw_text_upwards(painter, QRectF(x - height / 2, top, height, width), Qt::AlignRight | Qt::AlignVCenter,
                        tick.label, TextRole::tick, theme.text);
    else
      draw_text(painter, QRectF(x - width / 2, top, width, height), Qt::AlignCenter, tick.label, TextRole::tick,
                theme.text);
  }
  const QString words = elided(label_text(title, TextRole::axis_title), TextRole::axis_title, plot.width());
  draw_text(
      painter,
      QRectF(plot.left(), top + (upright ? width : height) + 6.0, plot.width(), line_height(TextRole::axis_title)),
      Qt::AlignCenter, words, TextRole::axis_title, theme.muted);
}

double color_bar_height(double plot_height) {
  return std::max(plot_height, kMinBarHeight);
}

double color_bar_width(const ColorBar& bar, double plot_height) {
  double width = 0.0;
  for (const QString& label : bar_labels(ticks_of(bar.scale, bar_ticks_wanted(color_bar_height(plot_height)))))
    width = std::max(width, text_width(label, TextRole::tick));
  return kBarGap + kBarWidth + kTickLength + kLabelGap + width + 8.0 + line_height(TextRole::axis_title);
}

void draw_color_bar(QPainter& painter, const QRectF& plot, const ColorBar& bar, const Theme& theme) {
  const double over = bar.has_over ? 11.0 : 0.0, full = color_bar_height(plot.height());
  const QRectF strip(plot.right() + kBarGap, plot.top() + over, kBarWidth, full - over);
  QImage gradient(1, 256, QImage::Format_RGB32);
  for (int y = 0; y < 256; ++y) {
    const Rgb color = color_table(bar.map)[static_cast<std::size_t>(255 - y)];
    gradient.setPixel(0, y, qRgb(color.red, color.green, color.blue));
  }
  const double ratio = pixel_ratio(painter);
  painter.drawImage(strip, gradient.scaled(static_cast<int>(strip.width() * ratio),
                                           std::max(1, static_cast<int>(strip.height() * ratio))));
  draw_frame(painter, strip, theme.axis);
  if (bar.has_over) {
    painter.setRenderHint(QPainter::Antialiasing, true);
    painter.setBrush(to_color(over_color(bar.map)));
    painter.setPen(Qt::NoPen);
    const double base = strip.top() - 2.5;
    painter.drawPolygon(QPolygonF(
        {QPointF(strip.left(), base), QPointF(strip.right(), base), QPointF(strip.center().x(), base - 8.0)}));
    painter.setRenderHint(QPainter::Antialiasing, false);
  }
  double widest_label = 0.0;
  const double height = line_height(TextRole::tick);
  for (const Tick& tick : ticks_of(bar.scale, bar_ticks_wanted(full))) {
    const double y = strip.bottom() - bar.scale.position(tick.value) * strip.height();
    const QString label = QString::fromStdString(tick.label);
    const double width = text_width(label, TextRole::tick);
    widest_label = std::max(widest_label, width);
    painter.setPen(QPen(theme.axis, 1.0));
    painter.drawLine(QPointF(strip.right() + 1.0, y), QPointF(strip.right() + kTickLength, y));
    draw_text(painter, QRectF(strip.right() + kTickLength + kLabelGap, y - height / 2, width, height),
              Qt::AlignLeft | Qt::AlignVCenter, label, TextRole::tick, theme.text);
  }
  draw_text_upwards(painter,
                    QRectF(strip.right() + kTickLength + kLabelGap + widest_label + 8.0, plot.top(),
                           line_height(TextRole::axis_title), full),
                    Qt::AlignCenter, elided(label_text(bar.label, TextRole::axis_title), TextRole::axis_title, full),
                    TextRole::axis_title, theme.muted);
}

void draw_frame(QPainter& painter, const QRectF& plot, const QColor& color) {
  painter.fillRect(QRectF(plot.left() - 1, plot.top() - 1, plot.width() + 2, 1), color);
  painter.fillRect(QRectF(plot.left() - 1, plot.bottom(), plot.width() + 2, 1), color);
  painter.fillRect(QRectF(plot.left() - 1, plot.top(), 1, plot.height()), color);
  painter.fillRect(QRectF(plot.right(), plot.top(), 1, plot.height()), color);
}

Rgb color_of(const ValueScale& scale, ColorMap map, float value) {
  const double position = scale.position(value);
  if (position > 1.0 + 1e-6) return over_color(map);
  return color_table(map)[static_cast<std::size_t>(std::lround(255.0 * std::clamp(position, 0.0, 1.0)))];
}

QColor ink_on(Rgb ground) {
  return lightness(ground) > 58.0 ? QColor(0x101418) : QColor(0xf6f8fa);
}

double pixel_ratio(const QPainter& painter) {
  const QPaintEngine* engine = painter.paintEngine();
  const bool vector =
      engine != nullptr && (engine->type() == QPaintEngine::SVG || engine->type() == QPaintEngine::Pdf ||
                            engine->type() == QPaintEngine::Picture);
  return vector ? 2.0 : painter.device()->devicePixelRatioF();
}

}  // namespace headlight::figure
