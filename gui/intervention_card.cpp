#include "gui/intervention_card.h"

#include <QComboBox>
#include <QDoubleSpinBox>
#include <QHBoxLayout>
#include <QLabel>
#include <QPainter>
#include <QSignalBlocker>
#include <QSlider>
#include <QStyleOptionSlider>
#include <QToolButton>
#include <algorithm>
#include <cmath>

#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr int kSliderSteps = 1000;

QString qstring(std::string_view text) {
  return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

QToolButton* small_button(const QString& text, const QString& tip) {
  auto* button = new QToolButton;
  button->setText(text);
  button->setToolTip(tip);
  button->setAccessibleName(tip);
  button->setAutoRaise(true);
  button->setMinimumSize(24, 24);
  return button;
}

/// A slider with a mark at the value that changes nothing.
class IdentitySlider final : public QSlider {
 public:
  /// @param identity  position 0..1, negative = none
  explicit IdentitySlider(double identity) : QSlider(Qt::Horizontal), identity_(identity) {
    setRange(0, kSliderSteps);
    setPageStep(kSliderSteps / 20);
    setMinimumWidth(80);
  }

 protected:
  void paintEvent(QPaintEvent* event) override {
    if (identity_ >= 0.0) {
      QStyleOptionSlider option;
      initStyleOption(&option);
      const int handle = style()->pixelMetric(QStyle::PM_SliderLength, &option, this);
      const int x =
          handle / 2 + QStyle::sliderPositionFromValue(
                           0, kSliderSteps, static_cast<int>(std::lround(identity_ * kSliderSteps)), width() - handle);
      QPainter(this).fillRect(QRect(x - 1, 1, 2, height() - 2), palette().color(QPalette::PlaceholderText));
    }
    QSlider::paintEvent(event);
  }

 private:
  double identity_;
};

}  // namespace

InterventionCard::InterventionCard(Workspace& workspace, std::size_t index, QWidget* parent)
    : QFrame(parent), workspace_(workspace), index_(index) {
  setObjectName(QStringLiteral("card"));
  setStyleSheet(
      QStringLiteral("#card { background: palette(base); border: 1px solid palette(mid); border-radius: 4px; }"));
  id_ = entry().id;
  method_ = entry().method;
  scope_ = workbench::scope_text(entry().scope);
  auto* grid = new QGridLayout(this);
  grid->setContentsMargins(8, 6, 8, 8);
  grid->setHorizontalSpacing(8);
  grid->setVerticalSpacing(4);
  grid->setColumnStretch(1, 1);
  add_heading(*grid);
  for (const auto& field : workbench::form_of(intervention::require_method(method_))) add_field(*grid, field);
  follow();
}

void InterventionCard::add_heading(QGridLayout& grid) {
  const auto& method = intervention::require_method(method_);
  enabled_ = new QCheckBox(qstring(method.title));
  enabled_->setObjectName(QStringLiteral("enabled"));
  QFont bold = enabled_->font();
  bold.setBold(true);
  enabled_->setFont(bold);
  enabled_->setToolTip(qstring(method.formula) +
                       (method.source.empty() ? QString() : QStringLiteral("\n") + qstring(method.source)));
  connect(enabled_, &QCheckBox::toggled, this, [this](bool on) {
    workbench::Project next = workspace_.project();
    next.interventions[index_].enabled = on;
    workspace_.change(on ? tr("Switch on %1").arg(qstring(id_)) : tr("Switch off %1").arg(qstring(id_)),
                      std::move(next));
  });
  auto* buttons = new QHBoxLayout;
  buttons->setSpacing(0);
  auto* up = small_button(QStringLiteral("\u2191"), tr("Apply earlier"));
  auto* down = small_button(QStringLiteral("\u2193"), tr("Apply later"));
  auto* remove_button = small_button(QStringLiteral("\u00d7"), tr("Remove"));
  up->setEnabled(index_ > 0);
  down->setEnabled(index_ + 1 < workspace_.project().interventions.size());
  connect(up, &QToolButton::clicked, this, [this] { move(-1); });
  connect(down, &QToolButton::clicked, this, [this] { move(1); });
  connect(remove_button, &QToolButton::clicked, this, &InterventionCard::remove);
  for (auto* button : {up, down, remove_button}) buttons->addWidget(button);
  grid.addWidget(enabled_, 0, 0, 1, 2);
  grid.addLayout(buttons, 0, 2, Qt::AlignRight);
  auto* scope = new QLabel(qstring(scope_));
  scope->setFont(small_font());
  scope->setForegroundRole(QPalette::PlaceholderText);
  grid.addWidget(scope, 1, 0, 1, 3);
}

void InterventionCard::set_value(const Field& field, const Json& value, bool dragging) {
  if (following_) return;
  workbench::Project next = workspace_.project();
  workbench::set_field(next.interventions[index_], field, value);
  workspace_.change(tr("Set %1 of %2").arg(qstring(field.name), qstring(id_)), std::move(next),
                    dragging ? id_ + "." + field.name : std::string());
}

void InterventionCard::add_field(QGridLayout& grid, const Field& field) {
  const int row = grid.rowCount();
  auto* label = new QLabel(qstring(field.name));
  label->setToolTip(qstring(field.doc));
  grid.addWidget(label, row, 0);
  const Json value = workbench::field_value(entry(), field);
  if (value.is_array()) {
    auto* text = new QLabel(tr("one value per head (%1)").arg(value.size()));
    text->setForegroundRole(QPalette::PlaceholderText);
    grid.addWidget(text, row, 1, 1, 2);
  } else if (field.kind == Field::Kind::flag) {
    auto* box = new QCheckBox;
    grid.addWidget(box, row, 1, 1, 2);
    connect(box, &QCheckBox::toggled, this, [this, field](bool on) { set_value(field, on, false); });
    refresh_.push_back([this, box, field] { box->setChecked(workbench::field_value(entry(), field).get<bool>()); });
  } else if (field.kind == Field::Kind::choice) {
    auto* box = new QComboBox;
    for (const auto& choice : field.choices) box->addItem(qstring(choice));
    grid.addWidget(box, row, 1, 1, 2);
    connect(box, &QComboBox::currentTextChanged, this,
            [this, field](const QString& text) { set_value(field, text.toStdString(), false); });
    refresh_.push_back([this, box, field] {
      box->setCurrentText(qstring(workbench::field_value(entry(), field).get<std::string>()));
    });
  } else {
    add_number(grid, row, field);
  }
}

void InterventionCard::add_number(QGridLayout& grid, int row, const Field& field) {
  const bool whole = field.kind == Field::Kind::integer;
  auto* slider = new IdentitySlider(field.identity.is_number() ? field.position(field.identity.get<double>()) : -1.0);
  slider->setObjectName(QStringLiteral("slider_") + qstring(field.name));
  slider->setAccessibleName(qstring(field.name));
  auto* box = new QDoubleSpinBox;
  box->setObjectName(QStringLiteral("box_") + qstring(field.name));
  box->setDecimals(whole ? 0 : 3);
  box->setRange(field.low, field.high);
  box->setSingleStep(whole ? 1.0 : std::max(0.001, (field.high - field.low) / 100.0));
  box->setKeyboardTracking(false);
  QString tip = qstring(field.doc) + tr("\n%1 to %2").arg(field.low).arg(field.high);
  if (field.identity.is_number()) tip += tr(", %1 changes nothing").arg(field.identity.get<double>());
  slider->setToolTip(tip);
  box->setToolTip(tip);
  grid.addWidget(slider, row, 1);
  grid.addWidget(box, row, 2);
  const auto to_json = [whole](double value) { return whole ? Json(static_cast<std::int64_t>(value)) : Json(value); };
  connect(slider, &QSlider::valueChanged, this, [this, field, to_json](int step) {
    set_value(field, to_json(field.value(static_cast<double>(step) / kSliderSteps)), true);
  });
  connect(slider, &QSlider::sliderReleased, this, [this] { workspace_.seal(); });
  connect(box, &QDoubleSpinBox::valueChanged, this,
          [this, field, to_json](double value) { set_value(field, to_json(value), false); });
  refresh_.push_back([this, slider, box, field] {
    const double value = workbench::field_value(entry(), field).get<double>();
    const bool there = field.value(static_cast<double>(slider->value()) / kSliderSteps) == value;  // rounded steps stay
    if (!there && !slider->isSliderDown())
      slider->setValue(static_cast<int>(std::lround(field.position(value) * kSliderSteps)));
    box->setValue(value);
  });
}

bool InterventionCard::follow() {
  const auto& stack = workspace_.project().interventions;
  if (index_ >= stack.size() || entry().id != id_ || entry().method != method_ ||
      workbench::scope_text(entry().scope) != scope_)
    return false;
  following_ = true;
  const QSignalBlocker quiet(enabled_);
  enabled_->setChecked(entry().enabled);
  for (const auto& refresh : refresh_) refresh();
  following_ = false;
  return true;
}

void InterventionCard::move(int by) {
  workbench::Project next = workspace_.project();
  std::swap(next.interventions[index_], next.interventions[index_ + static_cast<std::size_t>(by)]);
  workspace_.change(tr("Reorder interventions"), std::move(next));
}

void InterventionCard::remove() {
  workbench::Project next = workspace_.project();
  next.interventions.erase(next.interventions.begin() + static_cast<std::ptrdiff_t>(index_));
  workspace_.change(tr("Remove %1").arg(qstring(id_)), std::move(next));
}

}  // namespace headlight::gui
