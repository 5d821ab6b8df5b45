#include "gui/map_view.h"

#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr double kMostPixels = 64.0;

}  // namespace

MapView::MapView(Workspace& workspace, QWidget* parent) : QWidget(parent), workspace_(workspace) {
  setObjectName(QStringLiteral("map"));
  setAccessibleName(tr("Attention map"));
  setFocusPolicy(Qt::StrongFocus);
  setMouseTracking(true);
  setMinimumSize(260, 220);
  connect(&workspace_, &Workspace::captureChanged, this, &MapView::reset);
  connect(&workspace_, &Workspace::sideChanged, this, [this] {
    if (!workspace_.same_text()) reset();  // each side has a text of its own
    update();
  });
  connect(&workspace_, &Workspace::selectionChanged, this, [this] {
    reveal();
    update();
    Q_EMIT currentCellChanged();
  });
  connect(&workspace_, &Workspace::mapChanged, this, [this] {
    update();
    Q_EMIT currentCellChanged();
  });
}

std::int64_t MapView::num_tokens() const {
  return workspace_.shown() != nullptr ? workspace_.shown()->num_tokens() : 0;
}

// A new run of the same text keeps the view; another text is fitted.
void MapView::reset() {
  images_.clear();
  colors_.reset();
  hover_.reset();
  token_ruler_ = 30.0;
  if (const auto* document = workspace_.shown())
    for (const auto& text : document->token_texts()) {
      const QString label = figure::label_text(text, figure::TextRole::tick);
      token_ruler_ = std::min(84.0, std::max(token_ruler_, figure::text_width(label, figure::TextRole::tick) + 10.0));
      if (token_ruler_ == 84.0) break;
    }
  if (property("tokens").toLongLong() != num_tokens()) {
    setProperty("tokens", static_cast<qlonglong>(num_tokens()));
    pixels_ = 0.0;
  }
  update();
}

QRectF MapView::plot() const {
  const QFontMetricsF metrics(figure::font_of(figure::TextRole::tick));
  const double numbers = metrics.horizontalAdvance(QString::number(std::max<std::int64_t>(num_tokens(), 10))) + 12;
  const double ruler = shows_tokens() ? token_ruler_ : numbers;
  const double left = ruler + 18, bottom = (shows_tokens() ? token_ruler_ : 22.0) + 20;
  return QRectF(left, 10, std::max(40.0, width() - left - kColorBarWidth - 12), std::max(40.0, height() - bottom - 10));
}

double MapView::fit_pixels() const {
  const QRectF area = plot();
  const auto tokens = static_cast<double>(std::max<std::int64_t>(1, num_tokens()));
  return std::min({area.width() / tokens, area.height() / tokens, 44.0});
}

void MapView::fit() {
  pixels_ = 0.0;  // twice, because rulers depend on the size of a token
  pixels_ = fit_pixels();
  pixels_ = fit_pixels();
  origin_ = {0, 0};
  update();
}

void MapView::keep_inside() {
  const auto tokens = static_cast<double>(num_tokens());
  const QRectF area = plot();
  const auto clamp = [&](double at, double room) {
    return std::clamp(at, std::min(0.0, tokens - room), std::max(0.0, tokens - room));
  };
  origin_.setX(clamp(origin_.x(), area.width() / pixels_));
  origin_.setY(clamp(origin_.y(), area.height() / pixels_));
  if (area.width() / pixels_ >= tokens) origin_.setX(0);
  if (area.height() / pixels_ >= tokens) origin_.setY(0);
}

void MapView::reveal() {
  if (num_tokens() == 0 || pixels_ <= 0.0) return;
  const auto near = [](double origin, double room, std::optional<std::int64_t> at) {
    const double token = static_cast<double>(at.value_or(0)) + 0.5;
    return !at || (token >= origin && token <= origin + room) ? origin : token - room / 2;
  };
  const auto& selection = workspace_.selection();
  const QSizeF room = plot().size() / pixels_;
  origin_ = {near(origin_.x(), room.width(), selection.key), near(origin_.y(), room.height(), selection.query)};
  keep_inside();
}

void MapView::zoom_at(QPointF position, double factor) {
  if (num_tokens() == 0 || pixels_ <= 0.0) return;
  const QPointF anchor = token_at(position);
  const double least = fit_pixels();
  pixels_ = std::clamp(pixels_ * factor, least, std::max(least, kMostPixels));
  origin_ = anchor - (position - plot().topLeft()) / pixels_;
  keep_inside();
  update();
}

void MapView::zoom(double factor) {
  const QRectF map(rect_of(0, 0).topLeft(), QSizeF(1, 1) * pixels_ * static_cast<double>(num_tokens()));
  zoom_at((map & plot()).center(), factor);
}

void MapView::set_scale_kind(figure::ScaleKind kind) {
  kind_ = kind;
  colors_.reset();
  images_.clear();
  update();
}

QPointF MapView::token_at(QPointF position) const {
  return origin_ + (position - plot().topLeft()) / pixels_;
}

QRectF MapView::rect_of(std::int64_t query, std::int64_t key) const {
  const QPointF at =
      plot().topLeft() + (QPointF(static_cast<double>(key), static_cast<double>(query)) - origin_) * pixels_;
  return {at, QSizeF(pixels_, pixels_)};
}

// On whole device pixels, so that neighbours leave no seam.
QRectF MapView::rect_of_tile(const workbench::MapTile& tile) const {
  const QPointF first = rect_of(tile.tile.row_begin, tile.tile.col_begin).topLeft();
  const double cell = static_cast<double>(tile.pool) * pixels_, ratio = devicePixelRatioF();
  const QPointF last = first + QPointF(static_cast<double>(tile.cols), static_cast<double>(tile.rows)) * cell;
  const auto snapped = [ratio](QPointF at) {
    return QPointF(std::round(at.x() * ratio) / ratio, std::round(at.y() * ratio) / ratio);
  };
  return {snapped(first), snapped(last)};
}

workbench::TileKey MapView::whole_of(MapSide side) const {
  workbench::TileKey key = workspace_.tile_key();
  key.side = side;
  key.level = workbench::top_level(num_tokens());
  return key;
}

std::vector<workbench::TileKey> MapView::keys() const {
  const QRectF area = plot();
  const QPointF end = origin_ + QPointF(area.width(), area.height()) / pixels_;
  std::vector<workbench::TileKey> all =
      workbench::tiles_of_view(workspace_.tile_key(), {origin_.x(), origin_.y(), end.x(), end.y()},
                               pixels_ * devicePixelRatioF(), num_tokens(), true);
  // Both sides of a text share the range of the base.
  if (workspace_.side() == MapSide::changed && workspace_.same_text()) all.insert(all.begin(), whole_of(MapSide::base));
  return all;
}

bool MapView::is_complete() const {
  if (num_tokens() == 0 || pixels_ <= 0.0 || !workspace_.selection().head) return false;
  const auto all = keys();
  return std::all_of(all.begin(), all.end(), [this](const auto& key) { return workspace_.tile(key) != nullptr; });
}

bool MapView::update_colors() {
  const bool shared = workspace_.side() == MapSide::changed && workspace_.same_text();
  const workbench::TileKey wanted = whole_of(shared ? MapSide::base : workspace_.side());
  if (colors_ && colored_ == wanted) return true;
  const auto tile = workspace_.tile(wanted);
  if (!tile) return colors_.has_value() && colored_.head == wanted.head && colored_.side == wanted.side;
  colors_ = colors_of(*tile, workspace_.side() == MapSide::difference, kind_);
  colored_ = wanted;
  images_.clear();
  return true;
}

float MapView::value_at(std::int64_t query, std::int64_t key, std::int64_t* cell_edge) const {
  if (num_tokens() == 0) return std::nanf("");
  workbench::TileKey at = workspace_.tile_key();
  for (int level = 0; level <= workbench::top_level(num_tokens()); ++level) {
    const std::int64_t edge = workbench::kTileCells << level;
    at.level = level;
    at.row = query / edge;
    at.col = key / edge;
    const auto tile = workspace_.tile(at);
    if (!tile) continue;
    const std::int64_t y = (query - tile->tile.row_begin) / tile->pool, x = (key - tile->tile.col_begin) / tile->pool;
    if (y < 0 || x < 0 || y >= tile->rows || x >= tile->cols) continue;
    const auto index = static_cast<std::size_t>(y * tile->cols + x);
    if (cell_edge != nullptr) *cell_edge = tile->pool;
    return tile->visible_yx[index] != 0 ? tile->attn_yx[index] : std::nanf("");
  }
  return std::nanf("");
}

std::optional<std::pair<std::int64_t, std::int64_t>> MapView::current_cell() const {
  if (hover_) return hover_;
  const auto& selection = workspace_.selection();
  if (selection.query && selection.key) return std::pair(*selection.query, *selection.key);
  return std::nullopt;
}

QString MapView::badge() const {
  if (!workspace_.selection().head || num_tokens() == 0 || pixels_ <= 0.0) return {};
  for (auto key = keys(); !key.empty(); key.pop_back()) {
    const auto tile = workspace_.tile(key.back());
    if (!tile) continue;
    if (tile->source == capture::MapSource::sampled) return tr("sampled rows");
    if (tile->pool > 1)
      return (workspace_.side() == MapSide::difference ? tr("1 cell = %1 x %1 tokens, difference of maxima")
                                                       : tr("1 cell = %1 x %1 tokens, maximum"))
          .arg(tile->pool);
    return tr("exact");
  }
  return {};
}

}  // namespace headlight::gui
