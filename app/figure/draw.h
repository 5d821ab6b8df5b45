#pragma once

#include <QImage>
#include <QPainter>
#include <QRectF>
#include <QString>
#include <string>
#include <vector>

#include "app/figure/figure.h"
#include "app/figure/theme.h"

namespace headlight::figure {

constexpr double kPadding = 16.0;
constexpr double kTickLength = 4.0;
constexpr double kLabelGap = 4.0;

/// UTF-8 to a label: control characters and characters that the font lacks become \u{...}.
QString label_text(const std::string& utf8, TextRole role);
QString elided(const QString& text, TextRole role, double width);
double text_width(const QString& text, TextRole role);
double line_height(TextRole role);

/// Text inside a rectangle with Qt alignment flags; optionally turned by 90 degrees to read upwards.
void draw_text(QPainter& painter, const QRectF& box, int alignment, const QString& text, TextRole role,
               const QColor& color);
void draw_text_upwards(QPainter& painter, const QRectF& box, int alignment, const QString& text, TextRole role,
                       const QColor& color);

/// Height of title and caption, and of the note.
double header_height(const FigureText& text);
double footer_height(const FigureText& text);
void draw_frame_texts(QPainter& painter, const QRectF& area, const FigureText& text, const Theme& theme);

/// Ticks of a position axis at `cells` cells of `cell` pixels: tokens where they fit, else positions.
struct AxisTick {
  double at = 0.0;  ///< pixels from the start of the axis
  QString label;
};
bool shows_tokens(const PositionAxis& axis, std::int64_t cells, double cell);
std::vector<AxisTick> position_ticks(const PositionAxis& axis, std::int64_t cells, double cell, double min_distance);

/// Space an axis needs outside the plot: labels, ticks and title.
double left_axis_width(const std::vector<AxisTick>& ticks, bool title);
double bottom_axis_height(const std::vector<AxisTick>& ticks, bool upright, bool title);
void draw_left_axis(QPainter& painter, const QRectF& plot, const std::vector<AxisTick>& ticks, const std::string& title,
                    const Theme& theme);
void draw_bottom_axis(QPainter& painter, const QRectF& plot, const std::vector<AxisTick>& ticks, bool upright,
                      const std::string& title, const Theme& theme);

/// Colour bar at the right of a plot: gradient, ticks, label, and a triangle in the over-colour when cells lie above.
struct ColorBar {
  ValueScale scale;
  ColorMap map = ColorMap::viridis;
  std::string label;
  bool has_over = false;
};
double color_bar_height(double plot_height);  ///< at least what its label needs, even beside a flat plot
double color_bar_width(const ColorBar& bar, double plot_height);
void draw_color_bar(QPainter& painter, const QRectF& plot, const ColorBar& bar, const Theme& theme);

/// One-pixel frame just outside `plot`, so that it covers no cell.
void draw_frame(QPainter& painter, const QRectF& plot, const QColor& color);

inline QColor to_color(Rgb color) {
  return {color.red, color.green, color.blue};
}
/// Colour of a value; over-colour above the range.
Rgb color_of(const ValueScale& scale, ColorMap map, float value);
/// Black or white, whichever reads better on `ground`.
QColor ink_on(Rgb ground);

/// Device pixels per logical pixel of what the painter paints on; 2 for vector formats.
double pixel_ratio(const QPainter& painter);

}  // namespace headlight::figure
