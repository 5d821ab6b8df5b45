#pragma once

#include <QScrollArea>
#include <QWidget>
#include <vector>

#include "gui/workspace.h"

namespace headlight::gui {

/// The text, token by token. Background: attention from the selected query, else what each token receives from the
/// head.
class TokenFlow final : public QWidget {
  Q_OBJECT

 public:
  explicit TokenFlow(Workspace& workspace, QWidget* parent = nullptr);
  int heightForWidth(int width) const override;
  bool hasHeightForWidth() const override { return true; }
  std::int64_t token_at(QPointF position) const;  ///< -1 = none
  QRect rect_of(std::int64_t token) const;
  QString legend() const;

 protected:
  void paintEvent(QPaintEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  bool event(QEvent* event) override;

 private:
  void read_texts();
  void relayout(int width);
  bool shows_difference() const;  ///< of the two sides; false also where there is none to show
  const std::vector<float>& values() const;

  Workspace& workspace_;
  std::vector<QRect> boxes_;
  std::vector<QString> texts_;
  int content_height_ = 0;
};

/// The flow in a scroll area with its legend.
class TokenStrip final : public QWidget {
  Q_OBJECT

 public:
  explicit TokenStrip(Workspace& workspace, QWidget* parent = nullptr);
  TokenFlow* flow() { return flow_; }

 private:
  TokenFlow* flow_;
};

}  // namespace headlight::gui
