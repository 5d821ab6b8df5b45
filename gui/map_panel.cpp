#include "gui/map_panel.h"

#include <QHBoxLayout>
#include <QSignalBlocker>
#include <QToolButton>
#include <QVBoxLayout>
#include <cmath>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {

MapPanel::MapPanel(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      view_(new MapView(workspace)),
      title_(new QLabel),
      badge_(new QLabel),
      cell_(new QLabel),
      side_(new QButtonGroup(this)),
      scale_(new QComboBox),
      record_(new QSpinBox) {
  record_->setObjectName(QStringLiteral("record"));
  record_->setAccessibleName(tr("Record"));
  record_->setKeyboardTracking(false);
  connect(record_, &QSpinBox::valueChanged, &workspace_, [this](int record) { workspace_.open_record(record); });
  QFont bold = title_->font();
  bold.setBold(true);
  bold.setPointSizeF(bold.pointSizeF() * 1.15);
  title_->setFont(bold);
  for (auto* label : {badge_, cell_}) {
    label->setFont(small_font());
    label->setForegroundRole(QPalette::PlaceholderText);
  }
  cell_->setObjectName(QStringLiteral("cell_text"));
  scale_->addItem(tr("Square root"), static_cast<int>(figure::ScaleKind::power));
  scale_->addItem(tr("Linear"), static_cast<int>(figure::ScaleKind::linear));
  scale_->addItem(tr("Log"), static_cast<int>(figure::ScaleKind::log));
  scale_->setToolTip(tr("How values become colours; differences are linear"));
  connect(scale_, &QComboBox::activated, this, [this](int index) {
    view_->set_scale_kind(static_cast<figure::ScaleKind>(scale_->itemData(index).toInt()));
  });

  auto* heading = new QHBoxLayout;
  heading->addWidget(title_);
  heading->addSpacing(8);
  heading->addWidget(badge_);
  heading->addStretch(1);
  heading->addWidget(record_);
  heading->addSpacing(12);
  for (const MapSide side : workspace_.sides()) {
    auto* button = new QToolButton;
    button->setCheckable(true);
    button->setProperty("segment", true);
    button->setToolButtonStyle(Qt::ToolButtonTextOnly);
    button->setMinimumWidth(64);
    side_->addButton(button, static_cast<int>(side));
    heading->addWidget(button);
  }
  side_->setExclusive(true);
  connect(side_, &QButtonGroup::idClicked, this, [this](int id) { workspace_.set_side(static_cast<MapSide>(id)); });
  heading->addSpacing(12);
  heading->addWidget(scale_);
  auto* fit = new QToolButton;
  fit->setText(tr("Fit"));
  fit->setToolTip(tr("Show the whole map (0)"));
  connect(fit, &QToolButton::clicked, view_, &MapView::fit);
  heading->addWidget(fit);

  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(12, 8, 8, 6);
  layout->setSpacing(6);
  layout->addLayout(heading);
  layout->addWidget(view_, 1);
  layout->addWidget(cell_);
  connect(&workspace_, &Workspace::captureChanged, this, &MapPanel::follow);
  connect(&workspace_, &Workspace::selectionChanged, this, &MapPanel::follow);
  connect(&workspace_, &Workspace::sideChanged, this, &MapPanel::follow);
  connect(&workspace_, &Workspace::mapChanged, this, &MapPanel::follow);
  connect(view_, &MapView::currentCellChanged, this, &MapPanel::follow_cell);
  follow();
}

void MapPanel::follow() {
  const auto& head = workspace_.selection().head;
  title_->setText(head ? tr("Layer %1, head %2").arg(head->layer).arg(head->head) : tr("Attention map"));
  badge_->setText(view_->badge());
  const bool changed = workspace_.changed() != nullptr;
  const auto sides = workspace_.sides();
  const auto buttons = side_->buttons();
  for (int n = 0; n < 3; ++n) {
    side_->setId(buttons[n], static_cast<int>(sides[static_cast<std::size_t>(n)]));
    buttons[n]->setText(workspace_.side_name(sides[static_cast<std::size_t>(n)]));
    buttons[n]->setEnabled(changed);
  }
  side_->button(static_cast<int>(workspace_.side()))->setChecked(true);
  const QString why = changed ? QString() : tr("Add an intervention, or pin this run, to see two sides");
  for (auto* button : side_->buttons()) button->setToolTip(why);
  const auto document = workspace_.document_a();
  record_->setVisible(document && document->num_records() > 1);
  if (document) {
    const QSignalBlocker quiet(record_);
    record_->setRange(0, static_cast<int>(document->num_records() - 1));
    record_->setPrefix(tr("record "));
    record_->setSuffix(tr(" of %1").arg(document->num_records()));
    record_->setValue(static_cast<int>(document->record_number()));
    record_->setToolTip(QString::fromStdString(document->record().header.record_id));
  }
  scale_->setEnabled(workspace_.side() != MapSide::difference);
  follow_cell();
}

QString MapPanel::cell_text() const {
  const auto cell = view_->current_cell();
  if (!cell || workspace_.shown() == nullptr) return tr("Point at a cell to read it.");
  const auto [query, key] = *cell;
  std::int64_t edge = 1;
  const float value = view_->value_at(query, key, &edge);
  const auto token = [&](std::int64_t at) {
    return figure::label_text(workspace_.shown()->token_texts()[static_cast<std::size_t>(at)],
                              figure::TextRole::caption);
  };
  QString text =
      tr("query %1 \u201c%2\u201d \u2192 key %3 \u201c%4\u201d").arg(query).arg(token(query)).arg(key).arg(token(key));
  if (std::isnan(value)) return text + tr(": not visible to this query");
  const bool change = workspace_.side() == MapSide::difference;
  text += QStringLiteral(":  ") + (change && value > 0 ? QStringLiteral("+") : QString()) +
          QString::fromStdString(figure::format_value(value, 4));
  if (edge > 1)
    text += (change ? tr("  (difference of the largest of %1 x %1 tokens)") : tr("  (largest of %1 x %1 tokens)"))
                .arg(edge);
  return text;
}

void MapPanel::follow_cell() {
  cell_->setText(cell_text());
}

}  // namespace headlight::gui
