#pragma once

#include <QWidget>

#include "app/figure/value_scale.h"
#include "app/workbench/dashboard.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// One cell per head: row = layer (0 at the top), column = head; heads that share keys and values stand together.
/// Colour is a statistic of the shown side, or its change: the one of the workspace, unless the grid has its own.
class HeadGrid final : public QWidget {
  Q_OBJECT

 public:
  explicit HeadGrid(Workspace& workspace, QWidget* parent = nullptr);
  void set_measure(const workbench::Measure& measure);
  QSize sizeHint() const override { return {300, 480}; }
  QSize minimumSizeHint() const override { return {180, 160}; }
  std::optional<HeadId> head_at(QPointF position) const;
  QRectF cell_of(HeadId head) const;  ///< empty when the layer is not recorded
  /// Value of a head on the shown side; NaN when undefined.
  float value_of(HeadId head) const;

 protected:
  void paintEvent(QPaintEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void contextMenuEvent(QContextMenuEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  bool event(QEvent* event) override;

 private:
  struct Layout {
    QRectF cells;
    double width = 0, height = 0, gap = 0;
    int group = 1;
  };
  Layout cells_layout() const;
  workbench::Measure measure() const;  ///< id empty: the capture does not hold it
  QColor color_of_value(float value) const;
  void update_scale();
  void paint_cells(QPainter& painter, const Layout& at) const;
  void paint_axes(QPainter& painter, const Layout& at) const;
  void paint_legend(QPainter& painter, const Layout& at) const;
  void show_menu(HeadId head, const QPoint& position);
  QString text_of_head(HeadId head) const;

  Workspace& workspace_;
  std::optional<workbench::Measure> own_;
  figure::ValueScale scale_;
};

}  // namespace headlight::gui
