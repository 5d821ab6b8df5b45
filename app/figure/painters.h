#pragma once

#include <QPainter>
#include <QRectF>
#include <QSizeF>

#include "app/figure/figure.h"
#include "app/figure/theme.h"

namespace headlight::figure {

/// Size in logical pixels at which the figure looks best.
QSizeF preferred_size(const MapFigure& figure);
QSizeF preferred_size(const GridFigure& figure);
QSizeF preferred_size(const LineFigure& figure);

/// Paints into `area`, background included. The same call serves the screen, PNG, SVG and PDF. Text that does not fit
/// is shortened with an ellipsis.
void paint(QPainter& painter, const QRectF& area, const MapFigure& figure, const Theme& theme);
void paint(QPainter& painter, const QRectF& area, const GridFigure& figure, const Theme& theme);
void paint(QPainter& painter, const QRectF& area, const LineFigure& figure, const Theme& theme);

/// Where paint() puts the cells, for tests and for finding the cell under the mouse.
QRectF map_area(const QRectF& area, const MapFigure& figure, double device_pixel_ratio = 1.0);
/// The plot of a line figure: value n of a series is drawn at (n + 0.5) / length of its width.
QRectF line_area(const QRectF& area, const LineFigure& figure);

}  // namespace headlight::figure
