#include "gui/layer_curves.h"

#include <QHelpEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <algorithm>
#include <cmath>

#include "app/figure/painters.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

std::vector<float> less(std::vector<float> values, const std::vector<float>& by) {
  for (std::size_t at = 0; at < values.size() && at < by.size(); ++at) values[at] -= by[at];
  return values;
}

}  // namespace

LayerCurves::LayerCurves(Workspace& workspace, QWidget* parent)
    : QWidget(parent), workspace_(workspace), measure_(workbench::dashboard_measures().front()) {
  setObjectName(QStringLiteral("layer_curves"));
  setAccessibleName(tr("Layers"));
  connect(&workspace_, &Workspace::captureChanged, this, &LayerCurves::follow);
  connect(&workspace_, &Workspace::sideChanged, this, &LayerCurves::follow);
  connect(&workspace_, &Workspace::selectionChanged, this, qOverload<>(&QWidget::update));
}

void LayerCurves::set_measure(const workbench::Measure& measure) {
  measure_ = measure;
  follow();
}

void LayerCurves::follow() {
  figure_ = {};
  figure_.x.title = "layer";
  figure_.value_label = std::string(measure_.unit.empty() ? "share" : measure_.unit);
  const auto *base = workspace_.base(), *changed = workspace_.changed();
  const auto named = [&](const QString& text, MapSide side) {
    return text.arg(workspace_.side_word(side)).toStdString();
  };
  if (base != nullptr && changed == nullptr) {
    auto curves = workbench::layer_curves(*base, measure_);
    figure_.series = {{"mean", std::move(curves.mean_l)},
                      {"largest", std::move(curves.high_l)},
                      {"smallest", std::move(curves.low_l)}};
  } else if (base != nullptr) {
    auto before = workbench::layer_curves(*base, measure_).mean_l,
         after = workbench::layer_curves(*changed, measure_).mean_l;
    if (workspace_.side() == MapSide::difference)
      figure_.series = {{named(tr("mean, %1"), MapSide::difference), less(std::move(after), before)}};
    else
      figure_.series = {{named(tr("mean, %1"), MapSide::base), std::move(before)},
                        {named(tr("mean, %1"), MapSide::changed), std::move(after)}};
  }
  update();
}

double LayerCurves::layer_width() const {
  const std::size_t layers = figure_.series.empty() ? 1 : std::max<std::size_t>(1, figure_.series[0].value_x.size());
  return figure::line_area(rect(), figure_).width() / static_cast<double>(layers);
}

QPointF LayerCurves::point_of(int layer) const {
  const QRectF plot = figure::line_area(rect(), figure_);
  return {plot.left() + (layer + 0.5) * layer_width(), plot.center().y()};
}

int LayerCurves::layer_at(QPointF position) const {
  const QRectF plot = figure::line_area(rect(), figure_);
  if (figure_.series.empty() || !plot.contains(position)) return -1;
  return static_cast<int>((position.x() - plot.left()) / layer_width());
}

void LayerCurves::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  if (figure_.series.empty()) {
    painter.fillRect(rect(), palette().base());
    return;
  }
  figure::paint(painter, rect(), figure_, figure_theme());
  const auto& head = workspace_.selection().head;
  if (!head) return;
  const QRectF plot = figure::line_area(rect(), figure_);
  painter.setPen(QPen(palette().color(QPalette::Text), 1, Qt::DotLine));
  const double x = std::round(point_of(head->layer).x()) + 0.5;
  painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()));
}

void LayerCurves::mousePressEvent(QMouseEvent* event) {
  const int layer = layer_at(event->position());
  const auto* document = workspace_.base();
  if (layer < 0 || document == nullptr) return;
  const HeadId head{layer, workspace_.selection().head.value_or(HeadId{}).head};
  if (document->find(head)) workspace_.select_head(head);
}

bool LayerCurves::event(QEvent* event) {
  if (event->type() != QEvent::ToolTip) return QWidget::event(event);
  const auto* help = static_cast<QHelpEvent*>(event);
  const int layer = layer_at(help->pos());
  if (layer < 0) {
    QToolTip::hideText();
    return true;
  }
  QStringList lines{tr("layer %1").arg(layer)};
  for (const auto& series : figure_.series) {
    const float value = series.value_x[static_cast<std::size_t>(layer)];
    const QString number =
        std::isnan(value) ? tr("not recorded") : QString::fromStdString(figure::format_value(value, 3));
    lines += tr("%1: %2").arg(QString::fromStdString(series.name), number);
  }
  QToolTip::showText(help->globalPos(), lines.join(QLatin1Char('\n')), this);
  return true;
}

}  // namespace headlight::gui
