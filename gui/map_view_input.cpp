#include <QMouseEvent>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>

#include "gui/map_view.h"

namespace headlight::gui {

void MapView::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  if (num_tokens() == 0 || pixels_ <= 0.0) return;
  if (origin_ == QPointF(0, 0) && pixels_ <= fit_pixels() * 1.6) pixels_ = 0.0;  // a fitted map stays fitted
  if (pixels_ > 0.0) keep_inside();
}

void MapView::wheelEvent(QWheelEvent* event) {
  const double notches = event->angleDelta().y() / 120.0;
  zoom_at(event->position(), std::pow(event->modifiers() & Qt::ControlModifier ? 1.08 : 1.25, notches));
  event->accept();
}

void MapView::mousePressEvent(QMouseEvent* event) {
  pressed_ = dragged_ = event->position();
  dragging_ = false;
}

void MapView::mouseMoveEvent(QMouseEvent* event) {
  if (num_tokens() == 0 || pixels_ <= 0.0) return;
  if (event->buttons() != Qt::NoButton) {
    dragging_ = dragging_ || (event->position() - pressed_).manhattanLength() > 4;
    if (dragging_) {
      origin_ -= (event->position() - dragged_) / pixels_;
      keep_inside();
      setCursor(Qt::ClosedHandCursor);
    }
    dragged_ = event->position();
    update();
    return;
  }
  std::optional<std::pair<std::int64_t, std::int64_t>> cell;
  const QPointF token = token_at(event->position());
  const auto inside = [&](double at) { return at >= 0 && at < static_cast<double>(num_tokens()); };
  if (plot().contains(event->position()) && inside(token.x()) && inside(token.y()))
    cell = {static_cast<std::int64_t>(token.y()), static_cast<std::int64_t>(token.x())};
  if (cell == hover_) return;
  hover_ = cell;
  update();
  Q_EMIT currentCellChanged();
}

void MapView::mouseReleaseEvent(QMouseEvent* event) {
  unsetCursor();
  if (dragging_ || num_tokens() == 0 || pixels_ <= 0.0) return;
  const QPointF token = token_at(event->position());
  const auto query = static_cast<std::int64_t>(std::floor(token.y())),
             key = static_cast<std::int64_t>(std::floor(token.x()));
  if (!plot().contains(event->position()) || query < 0 || key < 0 || query >= num_tokens() || key >= num_tokens())
    return;
  const auto& selection = workspace_.selection();
  if (selection.query == query && selection.key == key)
    workspace_.select_cell(std::nullopt, std::nullopt);
  else
    workspace_.select_cell(query, key);
}

void MapView::leaveEvent(QEvent*) {
  if (!hover_) return;
  hover_.reset();
  update();
  Q_EMIT currentCellChanged();
}

void MapView::keyPressEvent(QKeyEvent* event) {
  const std::int64_t last = num_tokens() - 1;
  if (last < 0) return QWidget::keyPressEvent(event);
  auto query = workspace_.selection().query.value_or(0), key = workspace_.selection().key.value_or(0);
  switch (event->key()) {
    case Qt::Key_Left:
      --key;
      break;
    case Qt::Key_Right:
      ++key;
      break;
    case Qt::Key_Up:
      --query;
      break;
    case Qt::Key_Down:
      ++query;
      break;
    case Qt::Key_0:
      return fit();
    case Qt::Key_Plus:
      return zoom(1.25);
    case Qt::Key_Minus:
      return zoom(0.8);
    case Qt::Key_Escape:
      return workspace_.select_cell(std::nullopt, std::nullopt);
    default:
      return QWidget::keyPressEvent(event);
  }
  workspace_.select_cell(std::clamp<std::int64_t>(query, 0, last), std::clamp<std::int64_t>(key, 0, last));
}

}  // namespace headlight::gui
