#include "gui/token_strip.h"

#include <QHelpEvent>
#include <QLabel>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "app/figure/draw.h"
#include "app/figure/value_scale.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr int kPadding = 3, kRowGap = 4, kEdge = 8;
constexpr std::size_t kMostTokens = 20000;  // beyond that a strip is no way to read a text

float largest_of(const std::vector<float>& values) {
  float largest = 0.0f;
  for (const float value : values)
    if (!std::isnan(value)) largest = std::max(largest, std::abs(value));
  return largest;
}

}  // namespace

TokenFlow::TokenFlow(Workspace& workspace, QWidget* parent) : QWidget(parent), workspace_(workspace) {
  setObjectName(QStringLiteral("tokens"));
  setAccessibleName(tr("Tokens"));
  setFocusPolicy(Qt::StrongFocus);
  QSizePolicy policy(QSizePolicy::Preferred, QSizePolicy::Minimum);
  policy.setHeightForWidth(true);
  setSizePolicy(policy);
  connect(&workspace_, &Workspace::captureChanged, this, &TokenFlow::read_texts);
  connect(&workspace_, &Workspace::sideChanged, this, [this] {
    if (!workspace_.same_text()) read_texts();
  });
  connect(&workspace_, &Workspace::linesChanged, this, qOverload<>(&QWidget::update));
  connect(&workspace_, &Workspace::selectionChanged, this, qOverload<>(&QWidget::update));
}

void TokenFlow::read_texts() {
  texts_.clear();
  if (const auto* document = workspace_.shown())
    for (const auto& text : document->token_texts()) {
      if (texts_.size() == kMostTokens) break;
      texts_.push_back(figure::label_text(text, figure::TextRole::tick));
    }
  relayout(width());
}

void TokenFlow::relayout(int width) {
  boxes_.clear();
  const QFontMetrics metrics(font());
  const int line = metrics.height() + 4;
  int x = kEdge, y = 4;
  for (const QString& text : texts_) {
    const int w = std::max(12, metrics.horizontalAdvance(text) + 2 * kPadding);
    if (x + w > width - kEdge && x > kEdge) {
      x = kEdge;
      y += line + kRowGap;
    }
    boxes_.emplace_back(x, y, w, line);
    x += w + 1;
  }
  content_height_ = boxes_.empty() ? 0 : y + line + 6;
  setMinimumHeight(content_height_);
  updateGeometry();
  update();
}

int TokenFlow::heightForWidth(int) const {
  return content_height_;
}

void TokenFlow::resizeEvent(QResizeEvent*) {
  relayout(width());
}

const std::vector<float>& TokenFlow::values() const {
  const auto& lines = workspace_.lines();
  if (lines.row) return lines.row->attn;
  if (lines.column) return lines.column->attn;
  if (!lines.received.empty()) return lines.received;
  static const std::vector<float> none;
  return workspace_.shown() != nullptr ? workspace_.shown()->received() : none;
}

bool TokenFlow::shows_difference() const {
  const auto& lines = workspace_.lines();
  return workspace_.side() == MapSide::difference && (lines.row || lines.column || !lines.received.empty());
}

QString TokenFlow::legend() const {
  const auto& selection = workspace_.selection();
  const auto& lines = workspace_.lines();
  if (workspace_.base() == nullptr) return {};
  const QString head = selection.head ? QString::fromStdString(heads::to_string(*selection.head)) : QString();
  const QString change = shows_difference() ? tr("%1 of ").arg(workspace_.side_word(MapSide::difference)) : QString();
  QString what;
  if (lines.row && selection.query)
    what = tr("attention from token %1 in %2").arg(*selection.query).arg(head);
  else if (lines.column && selection.key)
    what = tr("attention to token %1 in %2").arg(*selection.key).arg(head);
  else if (!lines.received.empty())
    what = tr("mean attention received in %1").arg(head);
  else
    what = tr("mean attention received, all heads");
  const bool exact = !(lines.row && !lines.row->exact);
  return tr("Colour: %1, up to %2%3")
      .arg(change + what, QString::fromStdString(figure::format_value(largest_of(values()), 2)),
           exact ? QString() : tr(" (block maxima)"));
}

void TokenFlow::paintEvent(QPaintEvent* event) {
  QPainter painter(this);
  painter.fillRect(event->rect(), palette().base());
  if (texts_.empty()) return;
  const auto& shown = values();
  const float largest = std::max(1e-9f, largest_of(shown));
  const auto& selection = workspace_.selection();
  const QColor base = palette().color(QPalette::Base), full = is_dark() ? QColor(0x1f6feb) : QColor(0x54aeff);
  for (std::size_t t = 0; t < boxes_.size(); ++t) {
    const QRect& box = boxes_[t];
    if (!box.intersects(event->rect())) continue;
    QColor ground = base;
    if (t < shown.size() && !std::isnan(shown[t])) {
      const double share = std::sqrt(std::abs(shown[t]) / largest);  // small weights stay visible
      if (shows_difference()) {
        ground = diverging_color(std::copysign(share, shown[t]));
      } else {
        const auto mix = [&](int a, int b) { return static_cast<int>(a + (b - a) * share); };
        ground = QColor(mix(base.red(), full.red()), mix(base.green(), full.green()), mix(base.blue(), full.blue()));
      }
    }
    painter.fillRect(box, ground);
    painter.setPen(ink_for(ground));
    painter.drawText(box, Qt::AlignCenter, texts_[t]);
    const auto at = static_cast<std::int64_t>(t);
    if (selection.query == at || selection.key == at) {
      painter.setPen(QPen(selection.query == at ? changed_color() : accent_color(), 2));
      painter.drawRect(box.adjusted(1, 1, -1, -1));
    }
  }
}

std::int64_t TokenFlow::token_at(QPointF position) const {
  for (std::size_t t = 0; t < boxes_.size(); ++t)
    if (boxes_[t].contains(position.toPoint())) return static_cast<std::int64_t>(t);
  return -1;
}

QRect TokenFlow::rect_of(std::int64_t token) const {
  return token >= 0 && token < std::ssize(boxes_) ? boxes_[static_cast<std::size_t>(token)] : QRect();
}

void TokenFlow::mousePressEvent(QMouseEvent* event) {
  const std::int64_t token = token_at(event->position());
  auto next = workspace_.selection();
  if (token < 0) {
    next.query.reset();
    next.key.reset();
  } else if (event->modifiers() & Qt::ShiftModifier) {
    next.key = next.key == token ? std::nullopt : std::optional(token);
  } else {
    next.query = next.query == token ? std::nullopt : std::optional(token);
  }
  workspace_.select(next);
}

void TokenFlow::keyPressEvent(QKeyEvent* event) {
  const auto count = static_cast<std::int64_t>(boxes_.size());
  auto next = workspace_.selection();
  const std::int64_t at = next.query.value_or(-1);
  if (count == 0) return QWidget::keyPressEvent(event);
  switch (event->key()) {
    case Qt::Key_Left:
      next.query = std::max<std::int64_t>(0, at - 1);
      break;
    case Qt::Key_Right:
      next.query = std::min(count - 1, at + 1);
      break;
    case Qt::Key_Home:
      next.query = 0;
      break;
    case Qt::Key_End:
      next.query = count - 1;
      break;
    case Qt::Key_Escape:
      next.query.reset();
      next.key.reset();
      break;
    default:
      return QWidget::keyPressEvent(event);
  }
  workspace_.select(next);
}

bool TokenFlow::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const std::int64_t token = token_at(help->pos());
    if (token < 0) {
      QToolTip::hideText();
      return true;
    }
    const auto& tokens = workspace_.shown()->record().header.tokens;
    const auto& shown = values();
    QString text = tr("token %1").arg(token);
    if (token < std::ssize(tokens)) text += tr(", id %1").arg(tokens[static_cast<std::size_t>(token)].id);
    if (token < std::ssize(shown))
      text += QStringLiteral("\n") +
              QString::fromStdString(figure::format_value(shown[static_cast<std::size_t>(token)], 3));
    QToolTip::showText(help->globalPos(), text, this, rect_of(token));
    return true;
  }
  return QWidget::event(event);
}

TokenStrip::TokenStrip(Workspace& workspace, QWidget* parent) : QWidget(parent), flow_(new TokenFlow(workspace)) {
  auto* legend = new QLabel;
  legend->setFont(small_font());
  legend->setForegroundRole(QPalette::PlaceholderText);
  legend->setContentsMargins(8, 4, 8, 0);
  auto* area = new QScrollArea;
  area->setWidget(flow_);
  area->setWidgetResizable(true);
  area->setFrameShape(QFrame::NoFrame);
  area->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  layout->addWidget(legend);
  layout->addWidget(area, 1);
  const auto refresh = [this, legend, &workspace] {
    const bool empty = workspace.base() == nullptr;
    legend->setText(empty ? tr("The tokens of the text, once a prompt has run.")
                          : flow_->legend() + tr("   |   click: query, Shift+click: key, Esc: none"));
  };
  connect(&workspace, &Workspace::captureChanged, this, refresh);
  connect(&workspace, &Workspace::linesChanged, this, refresh);
  refresh();
}

}  // namespace headlight::gui
