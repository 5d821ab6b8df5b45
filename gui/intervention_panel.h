#pragma once

#include <QLabel>
#include <QMenu>
#include <QToolButton>
#include <QVBoxLayout>
#include <QWidget>

#include "gui/intervention_card.h"

namespace headlight::gui {

/// The stack of interventions, applied from top to bottom.
class InterventionPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit InterventionPanel(Workspace& workspace, QWidget* parent = nullptr);
  QMenu* add_menu() { return menu_; }

 private:
  enum class Where { head, set, all };
  void follow();
  void rebuild();
  void fill_menu();
  std::vector<HeadId> heads_of(Where where) const;

  Workspace& workspace_;
  QMenu* menu_;
  QToolButton* add_;
  QLabel* empty_;
  QVBoxLayout* cards_;
  std::vector<InterventionCard*> shown_;
};

}  // namespace headlight::gui
