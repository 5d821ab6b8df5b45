#include "gui/head_grid.h"

#include <QApplication>
#include <QClipboard>
#include <QContextMenuEvent>
#include <QHelpEvent>
#include <QMenu>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr double kLegendHeight = 44.0;
constexpr double kTopAxis = 20.0;
constexpr double kMargin = 8.0;

QString id_of(HeadId head) {
  return QString::fromStdString(heads::to_string(head));
}

}  // namespace

HeadGrid::HeadGrid(Workspace& workspace, QWidget* parent) : QWidget(parent), workspace_(workspace) {
  setObjectName(QStringLiteral("head_grid"));
  setAccessibleName(tr("Heads by layer"));
  setFocusPolicy(Qt::StrongFocus);
  setMouseTracking(true);
  const auto refresh = [this] {
    update_scale();
    update();
  };
  connect(&workspace_, &Workspace::captureChanged, this, refresh);
  connect(&workspace_, &Workspace::metricChanged, this, refresh);
  connect(&workspace_, &Workspace::sideChanged, this, refresh);
  connect(&workspace_, &Workspace::selectionChanged, this, qOverload<>(&QWidget::update));
  connect(&workspace_, &Workspace::filterChanged, this, qOverload<>(&QWidget::update));
  connect(&workspace_, &Workspace::projectChanged, this, qOverload<>(&QWidget::update));
}

HeadGrid::Layout HeadGrid::cells_layout() const {
  Layout result;
  const auto* document = workspace_.base();
  if (document == nullptr || document->layers().empty()) return result;
  const double left = kMargin + fontMetrics().horizontalAdvance(QStringLiteral("00")) + 6;
  result.group = std::max(1, document->num_heads() / std::max(1, document->num_kv_heads()));
  const int groups = result.group > 1 ? document->num_kv_heads() : 1;
  result.gap = groups > 1 ? 4.0 : 0.0;
  const double width = this->width() - left - kMargin - result.gap * (groups - 1);
  const double height = this->height() - kTopAxis - kLegendHeight;
  result.width = std::clamp(std::floor(width / document->num_heads()), 3.0, 56.0);
  result.height = std::clamp(std::floor(height / static_cast<double>(document->layers().size())), 3.0, 28.0);
  result.cells = QRectF(left, kTopAxis, result.width * document->num_heads() + result.gap * (groups - 1),
                        result.height * static_cast<double>(document->layers().size()));
  return result;
}

QRectF HeadGrid::cell_of(HeadId head) const {
  const auto* document = workspace_.base();
  const auto ref = document != nullptr ? document->find(head) : std::nullopt;
  if (!ref) return {};
  const Layout at = cells_layout();
  const double gaps = at.group > 1 ? at.gap * (head.head / at.group) : 0.0;
  return {at.cells.left() + head.head * at.width + gaps, at.cells.top() + ref->layer * at.height, at.width, at.height};
}

std::optional<HeadId> HeadGrid::head_at(QPointF position) const {
  const auto* document = workspace_.base();
  if (document == nullptr) return std::nullopt;
  const Layout at = cells_layout();
  if (!at.cells.contains(position)) return std::nullopt;
  const auto row = static_cast<std::size_t>((position.y() - at.cells.top()) / at.height);
  if (row >= document->layers().size()) return std::nullopt;
  for (int head = 0; head < document->num_heads(); ++head) {
    const HeadId id{document->layers()[row], head};
    if (cell_of(id).contains(position)) return id;
  }
  return std::nullopt;
}

void HeadGrid::set_measure(const workbench::Measure& measure) {
  own_ = measure;
  update_scale();
  update();
}

workbench::Measure HeadGrid::measure() const {
  if (own_) return *own_;
  const auto* statistic =
      workspace_.base() != nullptr ? workspace_.base()->find_statistic(workspace_.metric()) : nullptr;
  if (statistic == nullptr) return {};
  const auto& info = *statistic->info;
  return {info.id, info.long_name, info.unit == "1" ? std::string_view() : info.unit, 1.0};
}

float HeadGrid::value_of(HeadId head) const {
  if (workspace_.base() == nullptr) return std::nanf("");
  const workbench::Measure shown = measure();
  const auto of = [&](const workbench::CaptureDocument* document) {
    return static_cast<float>(document->statistic(shown.id, head) * shown.factor);
  };
  if (workspace_.side() == MapSide::base) return of(workspace_.base());
  const float after = of(workspace_.changed());
  return workspace_.side() == MapSide::changed ? after : after - of(workspace_.base());
}

// Before and after share one range, so that switching between them shows the change.
void HeadGrid::update_scale() {
  if (workspace_.base() == nullptr) return;
  std::vector<float> values = workbench::values_of(*workspace_.base(), measure());
  if (workspace_.side() != MapSide::difference) {
    if (workspace_.changed() != nullptr) {
      const auto after = workbench::values_of(*workspace_.changed(), measure());
      values.insert(values.end(), after.begin(), after.end());
    }
    scale_ = figure::choose_scale({}, values, {.mode = figure::RangeMode::automatic});
    return;
  }
  double largest = 0.0;
  for (const int layer : workspace_.base()->layers())
    for (int head = 0; head < workspace_.base()->num_heads(); ++head)
      if (const float change = value_of({layer, head}); !std::isnan(change))
        largest = std::max(largest, std::abs(static_cast<double>(change)));
  if (largest <= 0.0) largest = 1.0;
  scale_ = {.kind = figure::ScaleKind::linear, .low = -largest, .high = largest};
}

QColor HeadGrid::color_of_value(float value) const {
  if (workspace_.side() == MapSide::difference) return diverging_color(value / scale_.high);
  return figure::to_color(figure::color_of(scale_, figure::ColorMap::viridis, value));
}

void HeadGrid::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.fillRect(rect(), palette().base());
  if (workspace_.base() == nullptr) {
    painter.setPen(palette().color(QPalette::PlaceholderText));
    painter.drawText(rect().adjusted(16, 16, -16, -16), Qt::AlignCenter | Qt::TextWordWrap,
                     tr("Every head of the model, once a prompt has run or a capture is open."));
    return;
  }
  const Layout at = cells_layout();
  paint_axes(painter, at);
  paint_cells(painter, at);
  paint_legend(painter, at);
}

void HeadGrid::paint_cells(QPainter& painter, const Layout& at) const {
  const auto& document = *workspace_.base();
  const auto& set = workspace_.project().head_set;
  const bool numbers = at.width >= 34 && at.height >= 15;
  const QFont plain = painter.font();
  painter.setFont(figure::font_of(figure::TextRole::cell));
  for (const int layer : document.layers())
    for (int head = 0; head < document.num_heads(); ++head) {
      const HeadId id{layer, head};
      const QRectF cell = cell_of(id).adjusted(0.5, 0.5, -0.5, -0.5);
      const float value = value_of(id);
      if (std::isnan(value)) {
        painter.fillRect(cell, QBrush(figure_theme().missing, Qt::Dense6Pattern));
      } else {
        const QColor ground = color_of_value(value);
        painter.fillRect(cell, ground);
        if (numbers) {
          painter.setPen(ink_for(ground));
          painter.drawText(cell, Qt::AlignCenter, QString::fromStdString(figure::format_value(value, 2)));
        }
      }
      if (!workspace_.passes_filter(id)) {
        QColor veil = palette().color(QPalette::Base);
        veil.setAlphaF(0.82f);
        painter.fillRect(cell, veil);
      }
      if (std::binary_search(set.begin(), set.end(), id)) {  // a corner mark: put aside
        painter.setPen(Qt::NoPen);
        painter.setBrush(changed_color());
        const double edge = std::min(8.0, cell.height() / 2);
        const QPointF corner[] = {cell.topRight(), cell.topRight() + QPointF(-edge, 0),
                                  cell.topRight() + QPointF(0, edge)};
        painter.drawPolygon(corner, 3);
        painter.setBrush(Qt::NoBrush);
      }
    }
  painter.setFont(plain);
  if (const auto& chosen = workspace_.selection().head; chosen && document.find(*chosen)) {
    painter.setRenderHint(QPainter::Antialiasing);
    const QRectF ring = cell_of(*chosen);
    painter.setPen(QPen(palette().color(QPalette::Base), 4));
    painter.drawRect(ring);
    painter.setPen(QPen(hasFocus() ? accent_color() : palette().color(QPalette::Text), 2));
    painter.drawRect(ring);
    painter.setRenderHint(QPainter::Antialiasing, false);
  }
}

void HeadGrid::paint_axes(QPainter& painter, const Layout& at) const {
  const auto& document = *workspace_.base();
  const QColor muted = palette().color(QPalette::PlaceholderText);
  const QFont small = small_font();
  painter.save();
  painter.setFont(small);
  painter.setPen(muted);
  const QFontMetricsF metrics(small);
  const auto step_for = [](double cell, double room) {
    int step = 1;
    for (const int wider : {1, 2, 5, 10, 20, 50})
      if (cell * (step = wider) >= room) break;
    return step;
  };
  const int rows = step_for(at.height, metrics.height() * 0.95),
            columns = step_for(at.width, metrics.horizontalAdvance(QStringLiteral("00")) + 4);
  for (std::size_t row = 0; row < document.layers().size(); row += static_cast<std::size_t>(rows)) {
    const QRectF cell = cell_of({document.layers()[row], 0});
    painter.drawText(QRectF(0, cell.top() - 8, cell.left() - 5, cell.height() + 16), Qt::AlignRight | Qt::AlignVCenter,
                     QString::number(document.layers()[row]));
  }
  for (int head = 0; head < document.num_heads(); head += columns) {
    const QRectF cell = cell_of({document.layers()[0], head});
    painter.drawText(QRectF(cell.left() - 10, 0, cell.width() + 20, kTopAxis - 3), Qt::AlignHCenter | Qt::AlignBottom,
                     QString::number(head));
  }
  painter.restore();
}

void HeadGrid::paint_legend(QPainter& painter, const Layout& at) const {
  const workbench::Measure shown = measure();
  if (shown.id.empty()) return;
  const QRectF bar(at.cells.left(), height() - kLegendHeight + 8, std::min(at.cells.width(), 260.0), 10);
  for (int x = 0; x < static_cast<int>(bar.width()); ++x) {
    const double share = x / std::max(1.0, bar.width() - 1);
    const auto value = static_cast<float>(scale_.low + (scale_.high - scale_.low) * share);
    painter.fillRect(QRectF(bar.left() + x, bar.top(), 1, bar.height()), color_of_value(value));
  }
  painter.setPen(palette().color(QPalette::Mid));
  painter.drawRect(bar.adjusted(-0.5, -0.5, 0.5, 0.5));
  painter.setFont(small_font());
  painter.setPen(palette().color(QPalette::PlaceholderText));
  const QRectF words(bar.left(), bar.bottom() + 2, bar.width(), 18);
  const bool difference = workspace_.side() == MapSide::difference;
  const auto number = [&](double value) {
    return (difference && value > 0 ? QStringLiteral("+") : QString()) +
           QString::fromStdString(figure::format_value(value, 2));
  };
  const QString unit = QString::fromUtf8(shown.unit.data(), static_cast<qsizetype>(shown.unit.size()));
  painter.drawText(words, Qt::AlignLeft, number(scale_.low));
  painter.drawText(words, Qt::AlignRight, number(scale_.high));
  painter.drawText(
      words, Qt::AlignHCenter,
      difference ? workspace_.side_word(MapSide::difference) + (unit.isEmpty() ? unit : QStringLiteral(" in ") + unit)
                 : unit);
}

QString HeadGrid::text_of_head(HeadId head) const {
  const std::string_view title = measure().title;
  const QString name = QString::fromUtf8(title.data(), static_cast<qsizetype>(title.size()));
  const float value = value_of(head);
  return tr("layer %1, head %2\n%3: %4")
      .arg(head.layer)
      .arg(head.head)
      .arg(name, std::isnan(value) ? tr("undefined") : QString::fromStdString(figure::format_value(value, 3)));
}

bool HeadGrid::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip && workspace_.base() != nullptr) {
    const auto* help = static_cast<QHelpEvent*>(event);
    if (const auto head = head_at(help->pos()))
      QToolTip::showText(help->globalPos(), text_of_head(*head), this, cell_of(*head).toRect());
    else
      QToolTip::hideText();
    return true;
  }
  return QWidget::event(event);
}

void HeadGrid::mousePressEvent(QMouseEvent* event) {
  const auto head = head_at(event->position());
  if (!head) return;
  workspace_.select_head(*head);
  if (event->modifiers() & Qt::ControlModifier) workspace_.toggle_in_set(*head);
}

void HeadGrid::contextMenuEvent(QContextMenuEvent* event) {
  const auto head = event->reason() == QContextMenuEvent::Mouse ? head_at(event->pos()) : workspace_.selection().head;
  if (!head || workspace_.base() == nullptr) return;
  const bool by_key = event->reason() != QContextMenuEvent::Mouse;
  show_menu(*head, by_key ? mapToGlobal(cell_of(*head).center().toPoint()) : event->globalPos());
}

void HeadGrid::show_menu(HeadId head, const QPoint& position) {
  workspace_.select_head(head);
  const auto& set = workspace_.project().head_set;
  const bool in_set = std::binary_search(set.begin(), set.end(), head);
  const bool live = workspace_.result() != nullptr;
  QMenu menu(this);
  menu.setObjectName(QStringLiteral("head_menu"));
  const QString id = id_of(head);
  auto* ablate = menu.addAction(tr("Ablate %1").arg(id), this, [this, head] { workspace_.scale_heads({head}, 0.0); });
  auto* scale = menu.addAction(tr("Scale %1...").arg(id), this, [this, head] { workspace_.scale_heads({head}, 0.5); });
  auto* ablate_set = menu.addAction(tr("Ablate the set (%1 heads)").arg(set.size()), this,
                                    [this] { workspace_.scale_heads(workspace_.project().head_set, 0.0); });
  for (auto* action : {ablate, scale}) action->setEnabled(live);
  ablate_set->setEnabled(live && !set.empty());
  menu.addSeparator();
  menu.addAction(in_set ? tr("Remove from set") : tr("Add to set"), this,
                 [this, head] { workspace_.toggle_in_set(head); });
  menu.addAction(tr("Copy id"), this, [id] { QApplication::clipboard()->setText(id); });
  menu.exec(position);
}

void HeadGrid::keyPressEvent(QKeyEvent* event) {
  const auto* document = workspace_.base();
  const auto& chosen = workspace_.selection().head;
  if (document == nullptr || !chosen || !document->find(*chosen)) return QWidget::keyPressEvent(event);
  int row = document->find(*chosen)->layer, head = chosen->head;
  switch (event->key()) {
    case Qt::Key_Left:
      --head;
      break;
    case Qt::Key_Right:
      ++head;
      break;
    case Qt::Key_Up:
      --row;
      break;
    case Qt::Key_Down:
      ++row;
      break;
    case Qt::Key_Space:
      workspace_.toggle_in_set(*chosen);
      return;
    default:
      return QWidget::keyPressEvent(event);
  }
  row = std::clamp(row, 0, static_cast<int>(document->layers().size()) - 1);
  head = std::clamp(head, 0, document->num_heads() - 1);
  workspace_.select_head({document->layers()[static_cast<std::size_t>(row)], head});
}

}  // namespace headlight::gui
