#include "gui/message_bar.h"

#include <QHBoxLayout>
#include <QPushButton>

#include "gui/theme.h"

namespace headlight::gui {

MessageBar::MessageBar(QWidget* parent) : QFrame(parent), label_(new QLabel) {
  setObjectName(QStringLiteral("message_bar"));
  setFrameShape(QFrame::NoFrame);
  label_->setWordWrap(true);
  label_->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
  auto* dismiss = new QPushButton(tr("Dismiss"));
  connect(dismiss, &QPushButton::clicked, this, &QWidget::hide);
  auto* layout = new QHBoxLayout(this);
  layout->setContentsMargins(12, 8, 8, 8);
  layout->addWidget(label_, 1);
  layout->addWidget(dismiss, 0, Qt::AlignTop);
  hide();
}

void MessageBar::show_message(const QString& text, const QString& hint) {
  QString shown = text.toHtmlEscaped();
  if (!hint.isEmpty()) shown += QStringLiteral("<br>") + hint.toHtmlEscaped();
  label_->setText(shown);
  setStyleSheet(QStringLiteral("#message_bar { border-left: 4px solid %1; background: palette(base); }")
                    .arg(warning_color().name()));
  show();
}

}  // namespace headlight::gui
