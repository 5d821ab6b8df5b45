#pragma once

#include <QCheckBox>
#include <QFrame>
#include <QGridLayout>
#include <functional>
#include <vector>

#include "app/workbench/method_form.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// One intervention of the stack: on and off, order, and a control for every parameter of its method.
class InterventionCard final : public QFrame {
  Q_OBJECT

 public:
  /// @param index  in the stack
  InterventionCard(Workspace& workspace, std::size_t index, QWidget* parent = nullptr);
  /// Takes the values of the stack; false when the card is of another intervention and must be made anew.
  bool follow();

 private:
  using Field = workbench::FormField;
  void add_heading(QGridLayout& grid);
  void add_field(QGridLayout& grid, const Field& field);
  void add_number(QGridLayout& grid, int row, const Field& field);
  const intervention::Intervention& entry() const { return workspace_.project().interventions[index_]; }
  void set_value(const Field& field, const Json& value, bool dragging);
  void move(int by);
  void remove();

  Workspace& workspace_;
  std::size_t index_;
  std::string id_, method_, scope_;
  QCheckBox* enabled_ = nullptr;
  std::vector<std::function<void()>> refresh_;  // one for each control
  bool following_ = false;
};

}  // namespace headlight::gui
