#pragma once

#include <QWidget>

#include "gui/workspace.h"

namespace headlight::gui {

/// The next token: likeliest candidates before and after, and how far the distributions are apart.
class PredictionPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit PredictionPanel(Workspace& workspace, QWidget* parent = nullptr);
  QSize sizeHint() const override { return {340, 300}; }
  QSize minimumSizeHint() const override { return {240, 160}; }
  /// What is painted, as lines of text: also the accessible description.
  QStringList lines() const;

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  void paint_row(QPainter& painter, const QRectF& row, const workbench::TokenChance& chance, const QString& token,
                 double largest) const;
  void paint_header(QPainter& painter, const QRectF& area) const;
  QString summary() const;

  Workspace& workspace_;
};

}  // namespace headlight::gui
