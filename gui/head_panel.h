#pragma once

#include <QComboBox>
#include <QLabel>
#include <QLineEdit>
#include <QWidget>

#include "gui/head_grid.h"

namespace headlight::gui {

/// The grid of heads with its statistic and its filter.
class HeadPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit HeadPanel(Workspace& workspace, QWidget* parent = nullptr);
  HeadGrid* grid() { return grid_; }
  void focus_filter() { filter_->setFocus(); }

 private:
  void fill_metrics();
  void apply_filter();

  Workspace& workspace_;
  QComboBox* metric_;
  QLineEdit* filter_;
  QLabel* problem_;
  HeadGrid* grid_;
};

}  // namespace headlight::gui
