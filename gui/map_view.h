#pragma once

#include <QPoint>
#include <QWidget>
#include <map>
#include <optional>
#include <utility>

#include "gui/map_paint.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// The map of the selected head: row = query, column = key. Tiles arrive from a worker, coarse ones first.
/// Wheel zooms at the pointer, dragging moves, a click selects a cell, arrows move the selection, 0 fits.
class MapView final : public QWidget {
  Q_OBJECT

 public:
  explicit MapView(Workspace& workspace, QWidget* parent = nullptr);

  void fit();
  void zoom(double factor);
  void set_scale_kind(figure::ScaleKind kind);
  figure::ScaleKind scale_kind() const { return kind_; }

  QRectF plot() const;  ///< where cells are drawn
  double pixels_per_token() const { return pixels_; }
  QRectF rect_of(std::int64_t query, std::int64_t key) const;
  bool is_complete() const;  ///< every tile of the view is there
  /// Value under a cell from the finest tile that holds it; NaN when none does, or nothing is visible there.
  float value_at(std::int64_t query, std::int64_t key, std::int64_t* cell_edge = nullptr) const;
  QString badge() const;  ///< what a cell stands for when it is not one exact pair
  /// Cell under the pointer, or the selected one.
  std::optional<std::pair<std::int64_t, std::int64_t>> current_cell() const;

 Q_SIGNALS:
  void currentCellChanged();

 protected:
  void paintEvent(QPaintEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  std::int64_t num_tokens() const;
  double fit_pixels() const;
  void zoom_at(QPointF position, double factor);
  void keep_inside();
  void reveal();  ///< moves a zoomed map so that the selected query and key are in sight
  void reset();
  void request();
  std::vector<workbench::TileKey> keys() const;
  workbench::TileKey whole_of(MapSide side) const;
  bool update_colors();
  QPointF token_at(QPointF position) const;
  QRectF rect_of_tile(const workbench::MapTile& tile) const;
  void paint_empty(QPainter& painter, const QString& text) const;
  void paint_tiles(QPainter& painter);
  void paint_lines(QPainter& painter) const;
  void paint_numbers(QPainter& painter) const;
  void paint_rulers(QPainter& painter) const;
  bool shows_tokens() const { return pixels_ >= 12.0; }

  Workspace& workspace_;
  double token_ruler_ = 84.0;  // room for the longest token
  double pixels_ = 0.0;        // logical pixels per token; 0 = fit when painted
  QPointF origin_;             // token at the plot's top left
  figure::ScaleKind kind_ = figure::ScaleKind::power;
  std::optional<MapColors> colors_;
  workbench::TileKey colored_;  // whole tile the colours are of
  std::map<workbench::TileKey, QImage> images_;
  std::optional<std::pair<std::int64_t, std::int64_t>> hover_;
  QPointF pressed_, dragged_;
  bool dragging_ = false;
};

}  // namespace headlight::gui
