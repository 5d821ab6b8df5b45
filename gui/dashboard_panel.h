#pragma once

#include <QButtonGroup>
#include <QLabel>
#include <QTableWidget>
#include <QWidget>

#include "gui/head_grid.h"
#include "gui/layer_curves.h"

namespace headlight::gui {

/// Sinks and entropy at a glance: one statistic by layer and by head, and the tokens that are looked at most, before
/// and after.
class DashboardPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit DashboardPanel(Workspace& workspace, QWidget* parent = nullptr);
  HeadGrid* grid() { return grid_; }
  LayerCurves* curves() { return curves_; }
  QTableWidget* sinks() { return sinks_; }
  void set_measure(int index);

 private:
  void follow();
  void fill_sinks();
  void mark_selected();
  void choose(int row);

  Workspace& workspace_;
  QButtonGroup* measure_;
  LayerCurves* curves_;
  HeadGrid* grid_;
  QLabel* heading_;
  QTableWidget* sinks_;
  std::vector<workbench::SinkRow> rows_;
};

}  // namespace headlight::gui
