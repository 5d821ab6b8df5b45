#include "gui/dashboard_panel.h"

#include <QHeaderView>
#include <QSplitter>
#include <QToolButton>
#include <QVBoxLayout>
#include <utility>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr std::size_t kShownSinks = 12;
enum SinkColumn { kPosition, kToken, kBefore, kAfter, kHeads, kStrongest, kSinkColumns };

QString share_text(float value) {
  return QString::number(static_cast<double>(value), 'f', 3);
}

}  // namespace

DashboardPanel::DashboardPanel(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      measure_(new QButtonGroup(this)),
      curves_(new LayerCurves(workspace)),
      grid_(new HeadGrid(workspace)),
      heading_(new QLabel),
      sinks_(new QTableWidget(0, kSinkColumns)) {
  setObjectName(QStringLiteral("dashboard"));
  grid_->setObjectName(QStringLiteral("dashboard_grid"));
  auto* measures = new QHBoxLayout;
  measures->setContentsMargins(8, 6, 8, 4);
  measures->setSpacing(4);
  int index = 0;
  for (const auto& one : workbench::dashboard_measures()) {
    auto* button = new QToolButton;
    button->setText(QString::fromUtf8(one.title.data(), static_cast<qsizetype>(one.title.size())));
    button->setToolButtonStyle(Qt::ToolButtonTextOnly);
    button->setCheckable(true);
    button->setProperty("segment", true);
    button->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
    measure_->addButton(button, index++);
    measures->addWidget(button);
  }
  connect(measure_, &QButtonGroup::idClicked, this, &DashboardPanel::set_measure);

  heading_->setFont(small_font());
  heading_->setForegroundRole(QPalette::PlaceholderText);
  heading_->setContentsMargins(10, 4, 8, 2);
  heading_->setWordWrap(true);
  sinks_->setObjectName(QStringLiteral("sinks"));
  sinks_->setAccessibleName(tr("Tokens that are looked at most"));
  sinks_->setFrameShape(QFrame::NoFrame);
  sinks_->setShowGrid(false);
  sinks_->setEditTriggers(QAbstractItemView::NoEditTriggers);
  sinks_->setSelectionBehavior(QAbstractItemView::SelectRows);
  sinks_->setSelectionMode(QAbstractItemView::SingleSelection);
  sinks_->verticalHeader()->hide();
  sinks_->verticalHeader()->setDefaultSectionSize(sinks_->fontMetrics().height() + 6);
  sinks_->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
  sinks_->horizontalHeader()->setSectionResizeMode(kToken, QHeaderView::Stretch);
  sinks_->horizontalHeader()->setHighlightSections(false);
  sinks_->setMinimumHeight(80);
  connect(sinks_, &QTableWidget::cellActivated, this, [this](int row, int) { choose(row); });
  connect(sinks_, &QTableWidget::cellClicked, this, [this](int row, int) { choose(row); });

  auto* list = new QWidget;
  auto* list_layout = new QVBoxLayout(list);
  list_layout->setContentsMargins(0, 0, 0, 0);
  list_layout->setSpacing(0);
  list_layout->addWidget(heading_);
  list_layout->addWidget(sinks_, 1);
  auto* parts = new QSplitter(Qt::Vertical);
  parts->setChildrenCollapsible(false);
  for (QWidget* part : {static_cast<QWidget*>(curves_), static_cast<QWidget*>(grid_), list}) parts->addWidget(part);
  parts->setSizes({190, 290, 190});
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  layout->addLayout(measures);
  layout->addWidget(parts, 1);
  connect(&workspace_, &Workspace::captureChanged, this, &DashboardPanel::follow);
  connect(&workspace_, &Workspace::sideChanged, this, &DashboardPanel::follow);
  connect(&workspace_, &Workspace::selectionChanged, this, &DashboardPanel::mark_selected);
  set_measure(0);
  follow();
}

void DashboardPanel::set_measure(int index) {
  measure_->button(index)->setChecked(true);
  const auto& measure = workbench::dashboard_measures()[static_cast<std::size_t>(index)];
  curves_->set_measure(measure);
  grid_->set_measure(measure);
}

void DashboardPanel::follow() {
  const bool there = workspace_.base() != nullptr;
  for (auto* button : measure_->buttons()) button->setEnabled(there);
  curves_->setVisible(there);
  sinks_->setVisible(there);
  heading_->setVisible(there);
  fill_sinks();
}

void DashboardPanel::fill_sinks() {
  rows_.clear();
  sinks_->setRowCount(0);
  if (workspace_.base() == nullptr) return;
  rows_ = workbench::sink_rows(*workspace_.base(), workspace_.changed(), workspace_.side() == MapSide::changed,
                               kShownSinks);
  heading_->setText(rows_.empty() ? tr("Too few tokens for a list of sinks: a key counts when at least 8 rows see it.")
                                  : tr("Tokens by mean attention received, all heads"));
  const auto sides = workspace_.sides();
  const bool both = !rows_.empty() && rows_.front().changed.has_value();
  sinks_->setColumnHidden(kAfter, !both);
  sinks_->setHorizontalHeaderLabels({tr("#"), tr("Token"), both ? workspace_.side_name(sides[0]) : tr("Received"),
                                     workspace_.side_name(sides[1]), tr("\u2265 %1").arg(workbench::kSinkShare),
                                     tr("Most from")});
  sinks_->setRowCount(static_cast<int>(rows_.size()));
  for (std::size_t n = 0; n < rows_.size(); ++n) {
    const auto& row = rows_[n];
    const auto& texts = workspace_.shown()->token_texts();
    const QString token = figure::label_text(texts[static_cast<std::size_t>(row.position)], figure::TextRole::tick);
    const QString strongest = QString::fromStdString(heads::to_string(row.strongest));
    QString first = share_text(row.base), second = row.changed ? share_text(*row.changed) : QString();
    if (both && workspace_.comparing()) std::swap(first, second);  // A, then B
    const QString cells[] = {QString::number(row.position),    token,    first, second,
                             QString::number(row.heads_above), strongest};
    for (int column = 0; column < kSinkColumns; ++column) {
      auto* item = new QTableWidgetItem(cells[column]);
      if (column == kHeads)
        item->setToolTip(tr("Heads that give it at least %1 on average").arg(workbench::kSinkShare));
      if (column == kStrongest)
        item->setToolTip(tr("%1 gives it %2 on average").arg(strongest, share_text(row.largest)));
      if (column != kToken) item->setTextAlignment(Qt::AlignRight | Qt::AlignVCenter);
      sinks_->setItem(static_cast<int>(n), column, item);
    }
  }
  sinks_->scrollToTop();
  mark_selected();
}

void DashboardPanel::mark_selected() {
  const auto& key = workspace_.selection().key;
  sinks_->clearSelection();
  for (std::size_t n = 0; n < rows_.size(); ++n)
    if (key == rows_[n].position) sinks_->selectRow(static_cast<int>(n));
}

void DashboardPanel::choose(int row) {
  if (row < 0 || row >= std::ssize(rows_)) return;
  const auto& sink = rows_[static_cast<std::size_t>(row)];
  auto next = workspace_.selection();
  next.head = sink.strongest;
  next.key = sink.position;
  next.query.reset();
  workspace_.select(next);
}

}  // namespace headlight::gui
