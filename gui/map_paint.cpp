#include "gui/map_paint.h"

#include <QApplication>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr std::int64_t kSinkColumns = 4;
constexpr std::int64_t kShortMap = 64;
constexpr int kColors = 1024;

bool on_diagonal(const workbench::MapTile& tile, std::int64_t y, std::int64_t x) {
  const std::int64_t query = tile.tile.row_begin + y * tile.pool, key = tile.tile.col_begin + x * tile.pool;
  return query < key + tile.pool && key < query + tile.pool;
}

}  // namespace

QColor MapColors::color_of(float value) const {
  if (is_signed) return diverging_color(value / scale.high);
  return figure::to_color(figure::color_of(scale, figure::ColorMap::viridis, value));
}

MapColors colors_of(const workbench::MapTile& whole, bool is_signed, figure::ScaleKind kind) {
  std::vector<float> core, all;
  for (std::int64_t y = 0; y < whole.rows; ++y)
    for (std::int64_t x = 0; x < whole.cols; ++x) {
      const auto at = static_cast<std::size_t>(y * whole.cols + x);
      if (whole.visible_yx[at] == 0) continue;
      const float value = is_signed ? std::abs(whole.attn_yx[at]) : whole.attn_yx[at];
      all.push_back(value);
      const bool sink = whole.tile.col_begin + x * whole.pool < kSinkColumns;
      if (is_signed || (!sink && !on_diagonal(whole, y, x))) core.push_back(value);
    }
  if (!is_signed) {
    // A short text shows every weight; in a long one a few bright cells must not darken the rest.
    const bool robust = kind == figure::ScaleKind::linear || whole.rows > kShortMap;
    const auto mode = robust ? figure::RangeMode::robust : figure::RangeMode::automatic;
    figure::ValueScale scale =
        figure::choose_scale(robust ? core : std::vector<float>(), all, {.mode = mode, .kind = kind});
    scale.high = std::min(scale.high, 1.0);
    const bool over =
        std::any_of(all.begin(), all.end(), [&](float value) { return scale.position(value) > 1.0 + 1e-6; });
    return {scale, false, over};
  }
  figure::ValueScale scale = figure::choose_scale(core, all, {});
  if (std::all_of(all.begin(), all.end(), [](float value) { return value == 0.0f; })) scale.high = 1.0;
  scale.low = -scale.high;
  scale.kind = figure::ScaleKind::linear;
  return {scale, true, false};
}

QImage image_of(const workbench::MapTile& tile, const MapColors& colors) {
  // Colours by position along the scale, so that a tile costs one lookup a cell.
  std::vector<QRgb> table(kColors + 2);
  for (int n = 0; n <= kColors; ++n) {
    const double position = static_cast<double>(n) / kColors;
    const auto& viridis = figure::color_table(figure::ColorMap::viridis);
    table[static_cast<std::size_t>(n)] =
        colors.is_signed ? diverging_color(2.0 * position - 1.0).rgb()
                         : figure::to_color(viridis[static_cast<std::size_t>(std::lround(position * 255))]).rgb();
  }
  table[kColors + 1] =
      colors.is_signed ? table[kColors] : figure::to_color(figure::over_color(figure::ColorMap::viridis)).rgb();
  QImage image(static_cast<int>(tile.cols), static_cast<int>(tile.rows), QImage::Format_ARGB32_Premultiplied);
  for (std::int64_t y = 0; y < tile.rows; ++y) {
    auto* line = reinterpret_cast<QRgb*>(image.scanLine(static_cast<int>(y)));
    for (std::int64_t x = 0; x < tile.cols; ++x) {
      const auto at = static_cast<std::size_t>(y * tile.cols + x);
      const double position = colors.scale.position(tile.attn_yx[at]);
      if (tile.visible_yx[at] == 0 || std::isnan(position))
        line[x] = 0;
      else if (position > 1.0 + 1e-6)
        line[x] = table[kColors + 1];
      else
        line[x] = table[static_cast<std::size_t>(std::lround(std::clamp(position, 0.0, 1.0) * kColors))];
    }
  }
  return image;
}

std::int64_t tick_step(double pixels_per_token, double room) {
  for (std::int64_t ten = 1;; ten *= 10)
    for (const std::int64_t one : {1, 2, 5})
      if (static_cast<double>(one * ten) * pixels_per_token >= room) return one * ten;
}

void paint_color_bar(QPainter& painter, const QRectF& plot, const MapColors& colors, const QString& title) {
  const double height = std::min(plot.height(), 320.0);
  const QRectF bar(plot.right() + 16, plot.top() + 34, 12, height - 34);
  painter.save();
  painter.setFont(small_font());
  painter.setPen(QApplication::palette().color(QPalette::PlaceholderText));
  painter.drawText(QRectF(plot.right() + 12, plot.top(), kColorBarWidth - 10, 18), Qt::AlignLeft | Qt::AlignTop, title);
  const auto& scale = colors.scale;
  for (int y = 0; y < static_cast<int>(bar.height()); ++y) {
    const double share = 1.0 - y / std::max(1.0, bar.height() - 1);
    const auto& viridis = figure::color_table(figure::ColorMap::viridis);
    const QColor color = colors.is_signed
                             ? diverging_color(2.0 * share - 1.0)
                             : figure::to_color(viridis[static_cast<std::size_t>(std::lround(share * 255))]);
    painter.fillRect(QRectF(bar.left(), bar.top() + y, bar.width(), 1), color);
  }
  for (const auto& tick : figure::ticks_of(scale, 5)) {
    const double position = scale.position(tick.value);
    if (!(position >= 0.0 && position <= 1.0)) continue;
    const double y = bar.bottom() - position * bar.height();
    painter.drawLine(QPointF(bar.right() - 3, y), QPointF(bar.right(), y));
    const QString sign = colors.is_signed && tick.value > 0 ? QStringLiteral("+") : QString();
    painter.drawText(QRectF(bar.right() + 6, y - 9, 48, 18), Qt::AlignLeft | Qt::AlignVCenter,
                     sign + QString::fromStdString(tick.label));
  }
  painter.setPen(figure_theme().axis);
  painter.drawRect(bar);
  if (colors.has_over) {  // a cap in the colour of cells above the range
    const QRectF cap(bar.left(), bar.top() - 9, bar.width(), 6);
    painter.fillRect(cap, figure::to_color(figure::over_color(figure::ColorMap::viridis)));
    painter.setPen(QApplication::palette().color(QPalette::PlaceholderText));
    painter.drawText(QRectF(bar.right() + 6, cap.top() - 6, 48, 18), Qt::AlignLeft | Qt::AlignVCenter,
                     QStringLiteral("above"));
  }
  painter.restore();
}

}  // namespace headlight::gui
