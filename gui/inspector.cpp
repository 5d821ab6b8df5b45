#include "gui/inspector.h"

#include <QHeaderView>
#include <QVBoxLayout>
#include <cmath>
#include <utility>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

QString number(float value) {
  return std::isnan(value) ? QStringLiteral("\u2013") : QString::fromStdString(figure::format_value(value, 4));
}

}  // namespace

Inspector::Inspector(Workspace& workspace, QWidget* parent)
    : QWidget(parent), workspace_(workspace), table_(new QTableWidget(0, 3)) {
  table_->setObjectName(QStringLiteral("inspector"));
  table_->setHorizontalHeaderLabels({tr("Quantity"), tr("Before"), tr("After")});
  table_->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
  table_->horizontalHeader()->setSectionResizeMode(1, QHeaderView::ResizeToContents);
  table_->horizontalHeader()->setSectionResizeMode(2, QHeaderView::ResizeToContents);
  table_->horizontalHeader()->setDefaultAlignment(Qt::AlignLeft | Qt::AlignVCenter);
  table_->verticalHeader()->hide();
  table_->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 8);
  table_->setEditTriggers(QAbstractItemView::NoEditTriggers);
  table_->setSelectionMode(QAbstractItemView::SingleSelection);
  table_->setShowGrid(false);
  table_->setFrameShape(QFrame::NoFrame);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->addWidget(table_);
  connect(&workspace_, &Workspace::selectionChanged, this, &Inspector::follow);
  connect(&workspace_, &Workspace::captureChanged, this, &Inspector::follow);
  connect(&workspace_, &Workspace::linesChanged, this, &Inspector::follow);
}

void Inspector::add(const QString& name, const QString& before, const QString& after, const QString& tip) {
  const int row = table_->rowCount();
  table_->insertRow(row);
  const QString texts[] = {name, before, after};
  for (int column = 0; column < 3; ++column) {
    auto* item = new QTableWidgetItem(texts[column]);
    item->setToolTip(tip);
    if (column > 0) item->setTextAlignment(Qt::AlignRight | Qt::AlignVCenter);
    table_->setItem(row, column, item);
  }
}

void Inspector::follow() {
  table_->setRowCount(0);
  const auto* base = workspace_.base();
  const auto* changed = workspace_.changed();
  table_->setColumnHidden(2, changed == nullptr);
  table_->horizontalHeaderItem(1)->setText(changed != nullptr ? workspace_.side_name(workspace_.sides()[0])
                                                              : tr("Value"));
  if (base == nullptr) return;
  table_->horizontalHeaderItem(2)->setText(workspace_.side_name(workspace_.sides()[1]));
  const auto* shown = workspace_.shown();
  const auto& selection = workspace_.selection();
  const auto token = [&](const QString& name, std::optional<std::int64_t> at) {
    const auto& tokens = shown->record().header.tokens;
    if (!at || *at >= std::ssize(tokens)) return;
    const QString text =
        figure::label_text(shown->token_texts()[static_cast<std::size_t>(*at)], figure::TextRole::tick);
    add(name, tr("%1  \u201c%2\u201d").arg(*at).arg(text), {},
        tr("token id %1").arg(tokens[static_cast<std::size_t>(*at)].id));
  };
  token(tr("Query"), selection.query);
  token(tr("Key"), selection.key);
  if (!selection.head) return;
  add(tr("Head"), QString::fromStdString(heads::to_string(*selection.head)));
  for (const auto& one : base->statistics()) {
    QString name = QString::fromUtf8(one.info->long_name.data(), static_cast<qsizetype>(one.info->long_name.size()));
    if (!name.isEmpty()) name[0] = name[0].toUpper();
    if (one.info->unit != "1")
      name += QStringLiteral(" [%1]").arg(
          QString::fromUtf8(one.info->unit.data(), static_cast<qsizetype>(one.info->unit.size())));
    const QString tip = QString::fromUtf8(one.info->id.data(), static_cast<qsizetype>(one.info->id.size())) +
                        QStringLiteral(": ") +
                        QString::fromUtf8(one.info->formula.data(), static_cast<qsizetype>(one.info->formula.size()));
    QString first = number(base->statistic(one.info->id, *selection.head)), second;
    if (changed != nullptr) second = number(changed->statistic(one.info->id, *selection.head));
    if (workspace_.comparing()) std::swap(first, second);  // A, then B
    add(name, first, second, tip);
  }
}

}  // namespace headlight::gui
