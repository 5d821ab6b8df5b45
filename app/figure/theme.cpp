#include "app/figure/theme.h"

namespace headlight::figure {

const Theme& light_theme() {
  static const Theme theme{
      .background = QColor(0xffffff),
      .text = QColor(0x1f2328),
      .muted = QColor(0x656d76),
      .axis = QColor(0xafb8c1),
      .grid = QColor(0xeaeef2),
      .masked = QColor(0xf6f8fa),
      .hatch = QColor(0xdfe3e8),
      .missing = QColor(0x8c959f),
      .series = {QColor(0x0072B2), QColor(0xD55E00), QColor(0x009E73), QColor(0xCC79A7), QColor(0xE69F00),
                 QColor(0x56B4E9), QColor(0x6e7781)},
  };
  return theme;
}

const Theme& dark_theme() {
  static const Theme theme{
      .background = QColor(0x161b22),
      .text = QColor(0xe6edf3),
      .muted = QColor(0x9da7b3),
      .axis = QColor(0x484f58),
      .grid = QColor(0x262c36),
      .masked = QColor(0x1c222b),
      .hatch = QColor(0x2d343f),
      .missing = QColor(0x8b949e),
      .series = {QColor(0x58B0F0), QColor(0xF2884B), QColor(0x3CC99A), QColor(0xE29BC6), QColor(0xF0B73F),
                 QColor(0x8CD3FF), QColor(0xA0A8B2)},
  };
  return theme;
}

QFont font_of(TextRole role) {
  QFont font(QStringLiteral("DejaVu Sans"));
  font.setHintingPreference(QFont::PreferNoHinting);
  font.setStyleStrategy(QFont::PreferAntialias);
  switch (role) {
    case TextRole::title:
      font.setPixelSize(15);
      font.setWeight(QFont::Bold);
      break;
    case TextRole::axis_title:
      font.setPixelSize(12);
      break;
    case TextRole::caption:
    case TextRole::tick:
      font.setPixelSize(11);
      break;
    case TextRole::cell:
    case TextRole::note:
      font.setPixelSize(10);
      break;
  }
  return font;
}

}  // namespace headlight::figure
