#include "gui/theme.h"

#include <QFont>
#include <QStyleFactory>
#include <algorithm>
#include <cmath>

namespace headlight::gui {
namespace {

bool dark_theme_active = false;

struct PaletteColors {
  QColor window, base, raised, text, muted, line, accent, accent_text;
};

PaletteColors palette_colors(bool dark) {
  if (dark)
    return {QColor(0x0d1117), QColor(0x161b22), QColor(0x21262d), QColor(0xe6edf3),
            QColor(0x8b949e), QColor(0x30363d), QColor(0x2f81f7), QColor(0xffffff)};
  return {QColor(0xf3f4f6), QColor(0xffffff), QColor(0xffffff), QColor(0x1f2328),
          QColor(0x656d76), QColor(0xd0d7de), QColor(0x0969da), QColor(0xffffff)};
}

QPalette palette_of(bool dark) {
  const PaletteColors c = palette_colors(dark);
  QPalette palette;
  const auto set = [&](QPalette::ColorRole role, const QColor& color, const QColor& disabled) {
    palette.setColor(QPalette::Active, role, color);
    palette.setColor(QPalette::Inactive, role, color);
    palette.setColor(QPalette::Disabled, role, disabled);
  };
  set(QPalette::Window, c.window, c.window);
  set(QPalette::WindowText, c.text, c.muted);
  set(QPalette::Base, c.base, c.window);
  set(QPalette::AlternateBase, c.window, c.window);
  set(QPalette::ToolTipBase, c.raised, c.raised);
  set(QPalette::ToolTipText, c.text, c.text);
  set(QPalette::PlaceholderText, c.muted, c.muted);
  set(QPalette::Text, c.text, c.muted);
  set(QPalette::Button, c.raised, c.window);
  set(QPalette::ButtonText, c.text, c.muted);
  set(QPalette::BrightText, QColor(0xffffff), QColor(0xffffff));
  set(QPalette::Light, dark ? c.line : QColor(0xffffff), c.line);
  set(QPalette::Midlight, c.line, c.line);
  set(QPalette::Mid, c.line, c.line);
  set(QPalette::Dark, dark ? QColor(0x010409) : QColor(0xafb8c1), c.line);
  set(QPalette::Shadow, dark ? QColor(0x010409) : QColor(0x8c959f), c.line);
  set(QPalette::Highlight, c.accent, c.line);
  set(QPalette::HighlightedText, c.accent_text, c.text);
  set(QPalette::Link, c.accent, c.muted);
  set(QPalette::LinkVisited, c.accent, c.muted);
  return palette;
}

QColor mixed(const QColor& a, const QColor& b, double share) {
  const auto mix = [&](int from, int to) { return static_cast<int>(std::lround(from + (to - from) * share)); };
  return {mix(a.red(), b.red()), mix(a.green(), b.green()), mix(a.blue(), b.blue())};
}

}  // namespace

void apply_theme(QApplication& application, ThemeChoice choice) {
  static const bool system_is_dark = QApplication::palette().color(QPalette::Window).lightness() < 128;
  dark_theme_active = choice == ThemeChoice::dark || (choice == ThemeChoice::system && system_is_dark);
  application.setStyle(QStyleFactory::create(QStringLiteral("Fusion")));
  application.setPalette(palette_of(dark_theme_active));
  const PaletteColors c = palette_colors(dark_theme_active);
  // Docks without bevels: title bars as small headings, one hairline between panes.
  application.setStyleSheet(
      QStringLiteral("QDockWidget::title { background: %1; padding: 6px 8px; }"
                     "QMainWindow::separator { background: %2; width: 1px; height: 1px; }"
                     "QToolButton[segment=\"true\"] { background: %4; border: 1px solid %2; border-radius: 3px;"
                     "  padding: 2px 6px; }"
                     "QToolButton[segment=\"true\"]:checked { background: %5; border-color: %5; color: %6; }"
                     "QToolButton[segment=\"true\"]:disabled { background: %1; border-color: %2; color: %7; }"
                     "QToolTip { color: %3; background: %4; border: 1px solid %2; padding: 4px; }")
          .arg(c.window.name(), c.line.name(), c.text.name(), c.raised.name(), c.accent.name(), c.accent_text.name(),
               c.muted.name()));
}

bool is_dark() {
  return dark_theme_active;
}

const figure::Theme& figure_theme() {
  return dark_theme_active ? figure::dark_theme() : figure::light_theme();
}

QColor accent_color() {
  return palette_colors(dark_theme_active).accent;
}
QColor changed_color() {
  return dark_theme_active ? QColor(0xF2884B) : QColor(0xD55E00);
}
QColor warning_color() {
  return dark_theme_active ? QColor(0xd29922) : QColor(0x9a6700);
}

QColor diverging_color(double position) {
  const QColor neutral = dark_theme_active ? QColor(0x22282f) : QColor(0xf6f6f4);
  const QColor low = dark_theme_active ? QColor(0x58B0F0) : QColor(0x00538f);
  const QColor high = dark_theme_active ? QColor(0xFFA057) : QColor(0xb34700);
  const double share = std::clamp(std::abs(position), 0.0, 1.0);
  return mixed(neutral, position < 0 ? low : high, share);
}

QColor ink_for(const QColor& ground) {
  const double luminance = 0.2126 * ground.redF() + 0.7152 * ground.greenF() + 0.0722 * ground.blueF();
  return luminance > 0.5 ? QColor(0x1f2328) : QColor(0xf6f8fa);
}

void fill_masked(QPainter& painter, const QRectF& area) {
  painter.fillRect(area, figure_theme().masked);
  painter.fillRect(area, QBrush(dark_theme_active ? QColor(0x363d48) : figure_theme().hatch, Qt::BDiagPattern));
}

QFont small_font() {
  QFont font = QApplication::font();
  if (font.pointSizeF() > 0) font.setPointSizeF(font.pointSizeF() * 0.9);
  return font;
}

}  // namespace headlight::gui
