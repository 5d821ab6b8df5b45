#pragma once

#include <QWidget>

#include "app/figure/figure.h"
#include "app/workbench/dashboard.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// A head statistic layer by layer: mean and range over the heads, or the means before and after. A click chooses the
/// layer of the selected head.
class LayerCurves final : public QWidget {
  Q_OBJECT

 public:
  explicit LayerCurves(Workspace& workspace, QWidget* parent = nullptr);
  void set_measure(const workbench::Measure& measure);
  QSize sizeHint() const override { return {320, 190}; }
  QSize minimumSizeHint() const override { return {220, 150}; }
  const figure::LineFigure& figure() const { return figure_; }
  QPointF point_of(int layer) const;  ///< on the plot's middle line

 protected:
  void paintEvent(QPaintEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  bool event(QEvent* event) override;

 private:
  void follow();
  int layer_at(QPointF position) const;  ///< -1: beside the plot
  double layer_width() const;

  Workspace& workspace_;
  workbench::Measure measure_;
  figure::LineFigure figure_;
};

}  // namespace headlight::gui
