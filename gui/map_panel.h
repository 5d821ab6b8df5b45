#pragma once

#include <QButtonGroup>
#include <QComboBox>
#include <QLabel>
#include <QSpinBox>
#include <QWidget>

#include "gui/map_view.h"

namespace headlight::gui {

/// The map with its heading, the side that is shown, the value scale and the cell under the pointer.
class MapPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit MapPanel(Workspace& workspace, QWidget* parent = nullptr);
  MapView* view() { return view_; }

 private:
  void follow();
  void follow_cell();
  QString cell_text() const;

  Workspace& workspace_;
  MapView* view_;
  QLabel *title_, *badge_, *cell_;
  QButtonGroup* side_;
  QComboBox* scale_;
  QSpinBox* record_;
};

}  // namespace headlight::gui
