#include "gui/head_panel.h"

#include <QVBoxLayout>
#include <algorithm>

#include "gui/theme.h"

namespace headlight::gui {

HeadPanel::HeadPanel(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      metric_(new QComboBox),
      filter_(new QLineEdit),
      problem_(new QLabel),
      grid_(new HeadGrid(workspace)) {
  metric_->setObjectName(QStringLiteral("metric"));
  metric_->setAccessibleName(tr("Statistic"));
  metric_->setMinimumContentsLength(12);
  metric_->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  filter_->setObjectName(QStringLiteral("filter"));
  filter_->setPlaceholderText(tr("Filter: entropy<1.2 & layer>=10"));
  filter_->setClearButtonEnabled(true);
  filter_->setToolTip(tr("Heads that match stay bright: top(received0, 10%), L3H* | L7H2, entropy<1.2 & layer>=10"));
  problem_->setWordWrap(true);
  problem_->setFont(small_font());
  problem_->hide();
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(8, 6, 8, 0);
  layout->setSpacing(6);
  layout->addWidget(metric_);
  layout->addWidget(filter_);
  layout->addWidget(problem_);
  layout->addWidget(grid_, 1);
  connect(metric_, &QComboBox::activated, this,
          [this](int index) { workspace_.set_metric(metric_->itemData(index).toString().toStdString()); });
  connect(filter_, &QLineEdit::textChanged, this, &HeadPanel::apply_filter);
  connect(&workspace_, &Workspace::captureChanged, this, &HeadPanel::fill_metrics);
  connect(&workspace_, &Workspace::captureChanged, this, &HeadPanel::apply_filter);
  connect(&workspace_, &Workspace::metricChanged, this, &HeadPanel::fill_metrics);
  fill_metrics();
}

void HeadPanel::fill_metrics() {
  metric_->clear();
  metric_->setEnabled(workspace_.base() != nullptr);
  filter_->setEnabled(workspace_.base() != nullptr);
  if (workspace_.base() == nullptr) return;
  for (const auto& one : workspace_.base()->statistics()) {
    const QString id = QString::fromUtf8(one.info->id.data(), static_cast<qsizetype>(one.info->id.size()));
    QString name = QString::fromUtf8(one.info->long_name.data(), static_cast<qsizetype>(one.info->long_name.size()));
    if (!name.isEmpty()) name[0] = name[0].toUpper();
    metric_->addItem(name, id);
    metric_->setItemData(
        metric_->count() - 1,
        QStringLiteral("%1: %2").arg(
            id, QString::fromUtf8(one.info->formula.data(), static_cast<qsizetype>(one.info->formula.size()))),
        Qt::ToolTipRole);
  }
  const int at = metric_->findData(QString::fromStdString(workspace_.metric()));
  metric_->setCurrentIndex(std::max(0, at));
  metric_->setToolTip(metric_->itemData(metric_->currentIndex(), Qt::ToolTipRole).toString());
}

void HeadPanel::apply_filter() {
  const QString problem = workspace_.set_filter(filter_->text());
  problem_->setText(problem);
  problem_->setVisible(!problem.isEmpty());
}

}  // namespace headlight::gui
