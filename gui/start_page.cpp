#include "gui/start_page.h"

#include <QFileInfo>
#include <QLabel>

#include "gui/theme.h"

namespace headlight::gui {
namespace {

QLabel* heading(const QString& text, double factor) {
  auto* label = new QLabel(text);
  QFont font = label->font();
  font.setPointSizeF(font.pointSizeF() * factor);
  font.setBold(true);
  label->setFont(font);
  return label;
}

QLabel* muted(const QString& text) {
  auto* label = new QLabel(text);
  label->setForegroundRole(QPalette::PlaceholderText);
  label->setWordWrap(true);
  return label;
}

QPushButton* row_button(const QString& text) {
  auto* button = new QPushButton(text);
  button->setStyleSheet(QStringLiteral("text-align: left; padding: 8px 12px;"));
  return button;
}

}  // namespace

StartPage::StartPage(QWidget* parent) : QWidget(parent), recent_(new QVBoxLayout) {
  auto* column = new QWidget;
  column->setMaximumWidth(640);
  auto* layout = new QVBoxLayout(column);
  layout->setSpacing(8);
  layout->addStretch(1);
  layout->addWidget(heading(tr("Headlight"), 2.2));
  layout->addWidget(
      muted(tr("See what every attention head of a language model does with a text, and change it while you watch.")));
  layout->addSpacing(16);
  layout->addWidget(heading(tr("Run a prompt"), 1.15));
  layout->addWidget(muted(tr("Type one above and press Ctrl+Return, or begin with one of these.")));
  for (const QString& sample : {QStringLiteral("When Mary and John went to the store, John gave a drink to"),
                                QStringLiteral("The capital of France is Paris. The capital of Italy is"),
                                QStringLiteral("one two three four, one two three four, one two")}) {
    auto* button = row_button(sample);
    button->setObjectName(QStringLiteral("sample"));
    connect(button, &QPushButton::clicked, this, [this, sample] { Q_EMIT sampleWanted(sample); });
    layout->addWidget(button);
  }
  layout->addSpacing(16);
  layout->addWidget(heading(tr("Open a capture or a project"), 1.15));
  auto* open = row_button(tr("Open...   (Ctrl+O, or drop a file here)"));
  connect(open, &QPushButton::clicked, this, &StartPage::openWanted);
  layout->addWidget(open);
  layout->addLayout(recent_);
  layout->addStretch(2);

  auto* outer = new QHBoxLayout(this);
  outer->addStretch(1);
  outer->addWidget(column, 4);
  outer->addStretch(1);
}

void StartPage::set_recent(const QStringList& paths) {
  while (QLayoutItem* item = recent_->takeAt(0)) {
    delete item->widget();
    delete item;
  }
  for (const QString& path : paths.mid(0, 5)) {
    auto* button = row_button(QFileInfo(path).fileName());
    button->setToolTip(path);
    button->setEnabled(QFileInfo::exists(path));
    connect(button, &QPushButton::clicked, this, [this, path] { Q_EMIT fileWanted(path); });
    recent_->addWidget(button);
  }
}

}  // namespace headlight::gui
