#pragma once

#include <QColor>
#include <QFont>
#include <array>

namespace headlight::figure {

/// Every colour of a figure that is not data.
struct Theme {
  QColor background, text, muted, axis, grid;
  QColor masked, hatch;          ///< ground and lines of cells that no query sees
  QColor missing;                ///< dots of cells that were not recorded
  std::array<QColor, 7> series;  ///< lines: told apart under the common colour-vision deficiencies
};

const Theme& light_theme();
const Theme& dark_theme();

enum class TextRole { title, caption, axis_title, tick, cell, note };
QFont font_of(TextRole role);

}  // namespace headlight::figure
