#pragma once

#include <QTableWidget>
#include <QWidget>

#include "gui/workspace.h"

namespace headlight::gui {

/// Exact numbers of what is selected: the head's statistics before and after, the cell, the token.
class Inspector final : public QWidget {
  Q_OBJECT

 public:
  explicit Inspector(Workspace& workspace, QWidget* parent = nullptr);

 private:
  void follow();
  void add(const QString& name, const QString& before, const QString& after = {}, const QString& tip = {});

  Workspace& workspace_;
  QTableWidget* table_;
};

}  // namespace headlight::gui
