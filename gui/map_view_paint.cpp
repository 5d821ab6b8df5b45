#include <QPainter>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "gui/map_view.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr double kCellNumbersFrom = 44.0;
constexpr std::size_t kMostTileImages = 400;

}  // namespace

void MapView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.fillRect(rect(), palette().base());
  if (num_tokens() == 0) return paint_empty(painter, tr("The attention map of a head appears here."));
  const auto& head = workspace_.selection().head;
  if (!head) return paint_empty(painter, tr("Choose a head in the grid."));
  if (pixels_ <= 0.0) fit();
  workspace_.request_tiles(keys());
  if (!update_colors())
    return paint_empty(painter, workspace_.map_error().isEmpty() ? tr("Computing the map...") : workspace_.map_error());
  const QRectF map = QRectF(rect_of(0, 0).topLeft(), QSizeF(1, 1) * pixels_ * static_cast<double>(num_tokens()));
  const QRectF seen = map & plot();
  painter.save();
  painter.setClipRect(seen);
  fill_masked(painter, seen);
  paint_tiles(painter);
  paint_numbers(painter);
  paint_lines(painter);
  painter.restore();
  painter.setPen(figure_theme().axis);
  painter.drawRect(seen.adjusted(-0.5, -0.5, 0.5, 0.5));
  paint_rulers(painter);
  paint_color_bar(painter, QRectF(plot().topLeft(), QSizeF(seen.right() - plot().left(), plot().height())), *colors_,
                  colors_->is_signed ? workspace_.side_word(MapSide::difference) : tr("attention"));
}

void MapView::paint_empty(QPainter& painter, const QString& text) const {
  painter.setPen(palette().color(QPalette::PlaceholderText));
  painter.drawText(rect().adjusted(24, 24, -24, -24), Qt::AlignCenter | Qt::TextWordWrap, text);
}

void MapView::paint_tiles(QPainter& painter) {
  if (images_.size() > kMostTileImages) images_.clear();
  for (const auto& key : keys()) {
    if (key.side != workspace_.side()) continue;
    const auto tile = workspace_.tile(key);
    if (!tile) continue;
    QImage& image = images_[key];
    if (image.isNull()) image = image_of(*tile, *colors_);
    const QRectF target = rect_of_tile(*tile);
    // A finer tile replaces what lies below it, its empty cells too.
    if (key.level < workbench::top_level(num_tokens())) fill_masked(painter, target);
    painter.drawImage(target, image);
  }
}

void MapView::paint_numbers(QPainter& painter) const {
  if (pixels_ < kCellNumbersFrom) return;
  painter.setFont(figure::font_of(figure::TextRole::cell));
  const QPointF end = token_at(plot().bottomRight());
  const auto last = [&](double token) { return std::min(num_tokens() - 1, static_cast<std::int64_t>(token)); };
  for (auto query = static_cast<std::int64_t>(origin_.y()); query <= last(end.y()); ++query)
    for (auto key = static_cast<std::int64_t>(origin_.x()); key <= last(end.x()); ++key) {
      std::int64_t edge = 1;
      const float value = value_at(query, key, &edge);
      if (std::isnan(value) || edge > 1) continue;
      painter.setPen(ink_for(colors_->color_of(value)));
      const QString text =
          std::abs(value) < 0.005f ? QStringLiteral("0") : QString::number(static_cast<double>(value), 'f', 2);
      painter.drawText(rect_of(query, key), Qt::AlignCenter, text);
    }
}

void MapView::paint_lines(QPainter& painter) const {
  const auto& selection = workspace_.selection();
  const auto band = [&](const QRectF& where, const QColor& color) {
    painter.setPen(QPen(color, 1.5));
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(where);
  };
  const double all = pixels_ * static_cast<double>(num_tokens());
  painter.setRenderHint(QPainter::Antialiasing);
  if (selection.query) {
    const QRectF cell = rect_of(*selection.query, 0);
    band(QRectF(cell.left(), cell.top(), all, std::max(2.0, cell.height())), changed_color());
  }
  if (selection.key) {
    const QRectF cell = rect_of(0, *selection.key);
    band(QRectF(cell.left(), cell.top(), std::max(2.0, cell.width()), all), accent_color());
  }
  if (hover_ && pixels_ >= 4.0) band(rect_of(hover_->first, hover_->second), palette().color(QPalette::Text));
  painter.setRenderHint(QPainter::Antialiasing, false);
}

void MapView::paint_rulers(QPainter& painter) const {
  const QRectF area = plot();
  const QColor muted = palette().color(QPalette::PlaceholderText), strong = palette().color(QPalette::Text);
  const bool tokens = shows_tokens();
  const std::int64_t step = tokens ? 1 : tick_step(pixels_, 56.0);
  const auto& texts = workspace_.shown()->token_texts();
  const auto& selection = workspace_.selection();
  const auto current = current_cell();
  const auto label = [&](std::int64_t at) {
    if (!tokens) return QString::number(at);
    return figure::elided(figure::label_text(texts[static_cast<std::size_t>(at)], figure::TextRole::tick),
                          figure::TextRole::tick, 76.0);
  };
  const auto color = [&](std::int64_t at, std::optional<std::int64_t> chosen, std::optional<std::int64_t> near) {
    return chosen == at || near == at ? strong : muted;
  };
  const auto hovered = [&](bool row) {
    return current ? std::optional(row ? current->first : current->second) : std::nullopt;
  };
  const auto first = [&](double at) {
    return (static_cast<std::int64_t>(std::max(0.0, std::floor(at))) + step - 1) / step * step;
  };
  const double ruler = tokens ? token_ruler_ : 22.0;
  double bottom = std::min(area.bottom(), rect_of(num_tokens() - 1, 0).bottom());
  for (std::int64_t i = first(origin_.y()); i < num_tokens(); i += step) {
    const double y = rect_of(i, 0).center().y();
    if (y < area.top()) continue;
    if (y > area.bottom()) break;
    figure::draw_text(painter, QRectF(18, y - 8, area.left() - 24, 16), Qt::AlignRight | Qt::AlignVCenter, label(i),
                      figure::TextRole::tick, color(i, selection.query, hovered(true)));
  }
  double right = std::min(area.right(), rect_of(0, num_tokens() - 1).right());
  for (std::int64_t j = first(origin_.x()); j < num_tokens(); j += step) {
    const double x = rect_of(0, j).center().x();
    if (x < area.left()) continue;
    if (x > area.right()) break;
    const QColor ink = color(j, selection.key, hovered(false));
    if (tokens)
      figure::draw_text_upwards(painter, QRectF(x - 8, bottom + 5, 16, ruler - 6), Qt::AlignRight | Qt::AlignVCenter,
                                label(j), figure::TextRole::tick, ink);
    else
      figure::draw_text(painter, QRectF(x - 40, bottom + 4, 80, 16), Qt::AlignHCenter | Qt::AlignTop, label(j),
                        figure::TextRole::tick, ink);
  }
  figure::draw_text(painter, QRectF(area.left(), bottom + ruler, right - area.left(), 18), Qt::AlignCenter, tr("key"),
                    figure::TextRole::axis_title, muted);
  figure::draw_text_upwards(painter, QRectF(0, area.top(), 18, bottom - area.top()), Qt::AlignCenter, tr("query"),
                            figure::TextRole::axis_title, muted);
}

}  // namespace headlight::gui
