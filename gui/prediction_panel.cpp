#include "gui/prediction_panel.h"

#include <QPainter>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr double kHeader = 46.0, kSide = 10.0;

QString percent(double probability) {
  const double value = probability * 100.0;
  if (value > 0.0 && value < 0.1) return QStringLiteral("<0.1 %");
  return QString::number(value, 'f', 1) + QStringLiteral(" %");
}

QString signed_points(double change) {
  const double points = change * 100.0;
  if (std::abs(points) < 0.05) return QStringLiteral("\u00b10.0");
  return (points > 0 ? QStringLiteral("+") : QStringLiteral("\u2212")) + QString::number(std::abs(points), 'f', 1);
}

}  // namespace

PredictionPanel::PredictionPanel(Workspace& workspace, QWidget* parent) : QWidget(parent), workspace_(workspace) {
  setObjectName(QStringLiteral("prediction"));
  setAccessibleName(tr("Next token"));
  connect(&workspace_, &Workspace::captureChanged, this, [this] {
    setAccessibleDescription(lines().join(QLatin1Char('\n')));
    update();
  });
}

QString PredictionPanel::summary() const {
  const auto& shown = *workspace_.prediction();
  const auto fixed = [](double value) { return QString::number(value, 'f', 2); };
  QStringList parts;
  if (shown.two_sides)
    parts += tr("%1 %2 nat")
                 .arg(workspace_.comparing() ? tr("KL(B \u2016 A)") : tr("KL"),
                      QString::fromStdString(figure::format_value(shown.next.kl, 3)));
  parts += shown.two_sides
               ? tr("entropy %1 \u2192 %2 nat").arg(fixed(shown.next.base_entropy), fixed(shown.next.changed_entropy))
               : tr("entropy %1 nat").arg(fixed(shown.next.base_entropy));
  if (shown.seconds) parts += tr("%1 s").arg(fixed(*shown.seconds));
  return parts.join(QStringLiteral("   |   "));
}

QStringList PredictionPanel::lines() const {
  const auto* shown = workspace_.prediction();
  if (shown == nullptr) return {};
  QStringList text{summary()};
  for (std::size_t n = 0; n < shown->next.top.size(); ++n) {
    const auto& chance = shown->next.top[n];
    const QString token = QString::fromStdString(shown->texts[n]);
    text += shown->two_sides ? tr("%1: %2 to %3").arg(token, percent(chance.base), percent(chance.changed))
                             : tr("%1: %2").arg(token, percent(chance.base));
  }
  return text;
}

void PredictionPanel::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.fillRect(rect(), palette().base());
  const auto* shown = workspace_.prediction();
  if (shown == nullptr) {
    painter.setPen(palette().color(QPalette::PlaceholderText));
    painter.drawText(rect().adjusted(16, 16, -16, -16), Qt::AlignCenter | Qt::TextWordWrap,
                     workspace_.base() == nullptr ? tr("What the model would say next, once a prompt has run.")
                     : workspace_.comparing()
                         ? tr("A and B have no logits of one vocabulary: next tokens cannot be compared.")
                         : tr("This capture holds no logits. Run a prompt to see what comes next."));
    return;
  }
  paint_header(painter, QRectF(kSide, 6, width() - 2 * kSide, kHeader - 6));
  const auto& top = shown->next.top;
  double largest = 1e-9;
  for (const auto& chance : top) largest = std::max({largest, chance.base, chance.changed});
  const double room = (height() - kHeader - 6) / static_cast<double>(std::max<std::size_t>(1, top.size()));
  const double row = std::clamp(room, 20.0, 30.0);
  for (std::size_t n = 0; n < top.size(); ++n) {
    const QRectF at(kSide, kHeader + row * static_cast<double>(n), width() - 2 * kSide, row);
    if (at.bottom() > height()) break;
    paint_row(painter, at, top[n], figure::label_text(shown->texts[n], figure::TextRole::tick), largest);
  }
}

void PredictionPanel::paint_header(QPainter& painter, const QRectF& area) const {
  const bool changed = workspace_.prediction()->two_sides;
  painter.setFont(small_font());
  painter.setPen(palette().color(QPalette::Text));
  painter.drawText(QRectF(area.left(), area.top(), area.width(), 18), Qt::AlignLeft | Qt::AlignVCenter,
                   painter.fontMetrics().elidedText(summary(), Qt::ElideRight, static_cast<int>(area.width())));
  double x = area.left();
  const auto key = [&](const QColor& color, const QString& text) {
    painter.fillRect(QRectF(x, area.top() + 23, 10, 8), color);
    painter.setPen(palette().color(QPalette::PlaceholderText));
    painter.drawText(QPointF(x + 14, area.top() + 31), text);
    x += 14 + painter.fontMetrics().horizontalAdvance(text) + 14;
  };
  key(accent_color(), changed ? workspace_.side_word(MapSide::base) : tr("probability"));
  if (!changed) return;
  key(changed_color(), workspace_.side_word(MapSide::changed));
  painter.drawText(
      QRectF(area.left(), area.top() + 18, area.width(), 18), Qt::AlignRight | Qt::AlignVCenter,
      tr("%1, %2 in points").arg(workspace_.side_word(MapSide::changed), workspace_.side_word(MapSide::difference)));
}

void PredictionPanel::paint_row(QPainter& painter, const QRectF& row, const workbench::TokenChance& chance,
                                const QString& token, double largest) const {
  const bool changed = workspace_.prediction()->two_sides;
  painter.setFont(font());
  const double token_width = std::min(110.0, row.width() * 0.32), number_width = changed ? 104.0 : 56.0;
  const QRectF bars(row.left() + token_width + 6, row.top(),
                    std::max(10.0, row.width() - token_width - number_width - 12), row.height());
  painter.setPen(palette().color(QPalette::Text));
  painter.drawText(QRectF(row.left(), row.top(), token_width, row.height()), Qt::AlignLeft | Qt::AlignVCenter,
                   painter.fontMetrics().elidedText(token, Qt::ElideRight, static_cast<int>(token_width)));
  const double thick = changed ? (row.height() - 8) / 2 : row.height() - 10;
  painter.fillRect(
      QRectF(bars.left(), row.top() + (changed ? 3 : 5), std::max(1.0, bars.width() * chance.base / largest), thick),
      accent_color());
  if (changed)
    painter.fillRect(
        QRectF(bars.left(), row.top() + 4 + thick, std::max(1.0, bars.width() * chance.changed / largest), thick),
        changed_color());
  const QRectF numbers(row.right() - number_width, row.top(), number_width, row.height());
  painter.setFont(small_font());
  if (!changed) {
    painter.drawText(numbers, Qt::AlignRight | Qt::AlignVCenter, percent(chance.base));
    return;
  }
  painter.drawText(numbers.adjusted(0, 0, -44, 0), Qt::AlignRight | Qt::AlignVCenter, percent(chance.changed));
  painter.setPen(palette().color(QPalette::PlaceholderText));
  painter.drawText(numbers, Qt::AlignRight | Qt::AlignVCenter, signed_points(chance.changed - chance.base));
}

}  // namespace headlight::gui
