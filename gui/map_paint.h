#pragma once

#include <QColor>
#include <QImage>
#include <QPainter>
#include <QRectF>
#include <QString>
#include <vector>

#include "app/figure/value_scale.h"
#include "app/workbench/map_tiles.h"

namespace headlight::gui {

/// Values to colours for one map: viridis, or blue - ground - orange about zero for differences.
struct MapColors {
  figure::ValueScale scale;
  bool is_signed = false;
  bool has_over = false;  ///< some cells lie above the range
  QColor color_of(float value) const;
};

/// Range of a map from the tile that holds all of it: up to the largest value; robust on a linear scale and for more
/// than 64 rows, without the first columns and the diagonal, which would darken everything else. A difference is
/// symmetric about zero and linear.
MapColors colors_of(const workbench::MapTile& whole, bool is_signed, figure::ScaleKind kind);

/// One pixel per cell; cells that nobody sees are transparent.
QImage image_of(const workbench::MapTile& tile, const MapColors& colors);

/// Ticks at `step` tokens: the step that leaves `room` pixels.
std::int64_t tick_step(double pixels_per_token, double room);

/// Bar at the right of a plot: gradient, ends and ticks.
void paint_color_bar(QPainter& painter, const QRectF& plot, const MapColors& colors, const QString& title);
constexpr double kColorBarWidth = 72.0;

}  // namespace headlight::gui
