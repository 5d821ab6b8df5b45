#include "gui/intervention_panel.h"

#include <QScrollArea>
#include <algorithm>

#include "gui/theme.h"

namespace headlight::gui {

InterventionPanel::InterventionPanel(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      menu_(new QMenu(this)),
      add_(new QToolButton),
      empty_(new QLabel),
      cards_(new QVBoxLayout) {
  setObjectName(QStringLiteral("interventions"));
  add_->setText(tr("Add intervention"));
  add_->setPopupMode(QToolButton::InstantPopup);
  add_->setToolButtonStyle(Qt::ToolButtonTextOnly);
  add_->setMenu(menu_);
  add_->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  empty_->setWordWrap(true);
  empty_->setForegroundRole(QPalette::PlaceholderText);
  empty_->setText(tr("Nothing is changed. Add an intervention, or right-click a head to ablate or scale it."));
  auto* inside = new QWidget;
  auto* column = new QVBoxLayout(inside);
  column->setContentsMargins(8, 8, 8, 8);
  column->setSpacing(8);
  column->addWidget(add_);
  column->addWidget(empty_);
  column->addLayout(cards_);
  column->addStretch(1);
  cards_->setSpacing(8);
  auto* area = new QScrollArea;
  area->setWidget(inside);
  area->setWidgetResizable(true);
  area->setFrameShape(QFrame::NoFrame);
  area->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->addWidget(area);
  connect(menu_, &QMenu::aboutToShow, this, &InterventionPanel::fill_menu);
  connect(&workspace_, &Workspace::projectChanged, this, &InterventionPanel::follow);
  follow();
}

void InterventionPanel::follow() {
  const std::size_t wanted = workspace_.project().interventions.size();
  const bool same = shown_.size() == wanted &&
                    std::all_of(shown_.begin(), shown_.end(), [](InterventionCard* card) { return card->follow(); });
  if (!same) rebuild();
}

void InterventionPanel::rebuild() {
  for (auto* card : shown_) {
    cards_->removeWidget(card);
    card->hide();
    card->deleteLater();  // it may be the one whose button was clicked
  }
  shown_.clear();
  for (std::size_t n = 0; n < workspace_.project().interventions.size(); ++n) {
    shown_.push_back(new InterventionCard(workspace_, n));
    cards_->addWidget(shown_.back());
  }
  empty_->setVisible(shown_.empty());
}

std::vector<HeadId> InterventionPanel::heads_of(Where where) const {
  if (where == Where::set) return workspace_.project().head_set;
  if (where == Where::head && workspace_.selection().head) return {*workspace_.selection().head};
  return {};
}

void InterventionPanel::fill_menu() {
  menu_->clear();
  const auto& head = workspace_.selection().head;
  const auto& set = workspace_.project().head_set;
  const std::pair<Where, QString> places[] = {
      {Where::all, tr("On all heads")},
      {Where::head, head ? tr("On %1").arg(QString::fromStdString(heads::to_string(*head))) : QString()},
      {Where::set, set.empty() ? QString() : tr("On the set (%1 heads)").arg(set.size())}};
  for (const auto& [where, title] : places) {
    if (title.isEmpty()) continue;
    QMenu* sub = menu_->addMenu(title);
    sub->setToolTipsVisible(true);
    for (const auto& entry : workbench::method_entries()) {
      auto* action = sub->addAction(QString::fromStdString(entry.title), this, [this, id = entry.id, place = where] {
        workspace_.add_intervention(id, heads_of(place));
      });
      action->setData(QString::fromStdString(entry.id));
      QString tip = QString::fromStdString(entry.formula);
      if (entry.needs_values) tip += tr("\nNeeds vectors or another text: load it from a file");
      if (entry.needs_spans) tip += tr("\nActs on the selected key token: choose one first");
      action->setToolTip(tip);
      action->setEnabled(!entry.needs_values && (!entry.needs_spans || workspace_.selection().key.has_value()));
    }
  }
}

}  // namespace headlight::gui
