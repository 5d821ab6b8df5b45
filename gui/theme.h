#pragma once

#include <QApplication>
#include <QColor>
#include <QPainter>
#include <QPalette>

#include "app/figure/color_map.h"
#include "app/figure/theme.h"

namespace headlight::gui {

enum class ThemeChoice { system, light, dark };

/// Style Fusion with every colour of every group set. `system` follows the desktop's palette when the program starts.
void apply_theme(QApplication& application, ThemeChoice choice);
bool is_dark();
/// Colours of figures that fit the window.
const figure::Theme& figure_theme();

/// Selection, the changed side, and warnings.
QColor accent_color();
QColor changed_color();
QColor warning_color();

/// Signed differences: -1 blue, 0 the ground of the view, +1 orange; lightness grows away from the ground.
QColor diverging_color(double position);

/// Text colour that reads on a ground.
QColor ink_for(const QColor& ground);

/// Ground and lines of cells that a query does not see.
void fill_masked(QPainter& painter, const QRectF& area);

/// A small, muted label's font.
QFont small_font();

}  // namespace headlight::gui
