#pragma once

#include <QFrame>
#include <QLabel>

namespace headlight::gui {

/// A sentence above a view that stays until it is dismissed.
class MessageBar final : public QFrame {
  Q_OBJECT

 public:
  explicit MessageBar(QWidget* parent = nullptr);
  void show_message(const QString& text, const QString& hint);
  QString text() const { return label_->text(); }

 private:
  QLabel* label_;
};

}  // namespace headlight::gui
