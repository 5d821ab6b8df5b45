#include "gui/comparison_panel.h"

#include <QHBoxLayout>
#include <QHeaderView>
#include <QMetaObject>
#include <QVBoxLayout>
#include <cmath>

#include "base/error.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr std::size_t kShownDistances = 200;
enum DistanceColumn { kHead, kTv, kJs, kMaxAbs, kEntropy, kReceived0, kDistanceColumns };

QString of_std(const std::string& text) {
  return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

QString distance_text(double value, bool with_sign) {
  if (std::isnan(value)) return QStringLiteral("\u2013");
  const QString number = QString::number(value, 'f', 3);
  return with_sign && value > 0 ? QLatin1Char('+') + number : number;
}

}  // namespace

ComparisonPanel::ComparisonPanel(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      state_(new QLabel),
      result_(new QLabel),
      pin_(new QPushButton(tr("Pin what is shown as B"))),
      open_(new QPushButton(tr("Open capture as B..."))),
      end_(new QPushButton(tr("End"))),
      progress_(new QProgressBar),
      table_(new QTableWidget(0, kDistanceColumns)),
      pool_(std::max(1, ThreadPool::available_threads())) {
  setObjectName(QStringLiteral("comparison"));
  for (auto* label : {state_, result_}) {
    label->setTextFormat(Qt::PlainText);
    label->setWordWrap(true);
    label->setContentsMargins(10, 4, 8, 2);
  }
  state_->setFont(small_font());
  state_->setForegroundRole(QPalette::PlaceholderText);
  pin_->setObjectName(QStringLiteral("pin"));
  end_->setObjectName(QStringLiteral("end_comparison"));
  progress_->setTextVisible(false);
  progress_->setMaximumHeight(4);
  table_->setObjectName(QStringLiteral("distances"));
  table_->setAccessibleName(tr("Distances between A and B, head by head"));
  table_->setFrameShape(QFrame::NoFrame);
  table_->setShowGrid(false);
  table_->setEditTriggers(QAbstractItemView::NoEditTriggers);
  table_->setSelectionBehavior(QAbstractItemView::SelectRows);
  table_->setSelectionMode(QAbstractItemView::SingleSelection);
  table_->verticalHeader()->hide();
  table_->verticalHeader()->setDefaultSectionSize(table_->fontMetrics().height() + 6);
  table_->horizontalHeader()->setSectionResizeMode(QHeaderView::Stretch);
  table_->horizontalHeader()->setHighlightSections(false);
  const std::pair<QString, QString> columns[] = {
      {tr("Head"), tr("Layer and head")},
      {tr("TV"), tr("Total variation: mean over rows of half the summed absolute difference, 0 to 1")},
      {tr("JS"), tr("Jensen-Shannon divergence, mean over rows, nat, 0 to ln 2")},
      {tr("Max"), tr("Largest absolute difference of a weight")},
      {tr("Entropy"), tr("Mean entropy, A \u2212 B, nat")},
      {tr("First"), tr("Mean attention received by the first token, A \u2212 B")}};
  for (int n = 0; n < kDistanceColumns; ++n) {
    auto* item = new QTableWidgetItem(columns[n].first);
    item->setToolTip(columns[n].second);
    table_->setHorizontalHeaderItem(n, item);
  }
  auto* buttons = new QHBoxLayout;
  buttons->setContentsMargins(8, 8, 8, 4);
  for (auto* button : {pin_, open_, end_}) buttons->addWidget(button);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  layout->addLayout(buttons);
  layout->addWidget(state_);
  layout->addWidget(progress_);
  layout->addWidget(result_);
  layout->addWidget(table_, 1);
  layout->addStretch(0);
  jobs_ = std::make_unique<workbench::JobQueue>(
      [this](workbench::JobQueue::Delivery delivery) {
        QMetaObject::invokeMethod(this, std::move(delivery), Qt::QueuedConnection);
      },
      [this](const workbench::JobStatus& status) {
        progress_->setRange(0, static_cast<int>(status.total));
        progress_->setValue(static_cast<int>(status.done));
      });
  connect(pin_, &QPushButton::clicked, &workspace_, &Workspace::pin);
  connect(open_, &QPushButton::clicked, this, &ComparisonPanel::openWanted);
  connect(end_, &QPushButton::clicked, &workspace_, &Workspace::end_comparison);
  connect(table_, &QTableWidget::cellClicked, this, [this](int row, int) { choose(row); });
  connect(table_, &QTableWidget::cellActivated, this, [this](int row, int) { choose(row); });
  connect(&workspace_, &Workspace::captureChanged, this, &ComparisonPanel::follow);
  show_state();
}

ComparisonPanel::~ComparisonPanel() {
  jobs_.reset();
}

void ComparisonPanel::showEvent(QShowEvent*) {
  begin();
}

void ComparisonPanel::follow() {
  if (!workspace_.comparing()) {
    jobs_->cancel_all();
    busy_ = false;
    comparison_.reset();
    of_a_.reset();
    of_b_.reset();
    fill();
  }
  begin();
  show_state();
}

// Distances are computed while somebody looks; the table of the run before stays until they are there.
void ComparisonPanel::begin() {
  const auto a = workspace_.document_a(), b = workspace_.document_b();
  if (!isVisible() || !b || (a == of_a_ && b == of_b_)) return;
  of_a_ = a;
  of_b_ = b;
  busy_ = true;
  problem_.clear();
  jobs_->submit(
      "compare", "Comparison",
      [this, a, b](workbench::JobContext& context) -> workbench::JobQueue::Delivery {
        auto comparison = workbench::compare_documents(*a, *b, pool_, context);
        return [this, comparison = std::move(comparison)] {
          comparison_ = comparison;
          busy_ = false;
          fill();
          show_state();
        };
      },
      [this](const Error& error) {
        comparison_.reset();
        busy_ = false;
        problem_ = of_std(error.what());
        fill();
        show_state();
      });
  show_state();
}

void ComparisonPanel::show_state() {
  const bool comparing = workspace_.comparing(), there = workspace_.base() != nullptr;
  pin_->setEnabled(there);
  pin_->setText(comparing ? tr("Pin A as B") : tr("Pin what is shown as B"));
  open_->setEnabled(there);
  open_->setText(comparing ? tr("Open B...") : tr("Open capture as B..."));
  end_->setVisible(comparing);
  progress_->setVisible(busy_);
  table_->setVisible(comparing);
  QStringList lines;
  if (!comparing) {
    lines +=
        tr("Hold a run or capture against another one. Pin what is shown, then change the stack, the prompt or the "
           "model; or open a second capture. Map, grid and next token show A, B and A \u2212 B.");
  } else {
    const auto &a = *workspace_.document_a(), &b = *workspace_.document_b();
    const auto facts = workbench::differing_facts(a, b);
    lines += tr("A: %1     B: %2").arg(of_std(a.name()), of_std(b.name()));
    if (&a == &b) lines += tr("They are the same: change the stack, the prompt or the model, or open a capture.");
    for (const auto& fact : facts) lines += of_std(fact);
    if (!workspace_.same_text()) lines += tr("Maps of different texts have no difference; statistics have.");
  }
  state_->setText(lines.join(QLatin1Char('\n')));
  QString text = problem_;
  if (comparing && problem_.isEmpty() && comparison_) {
    const auto& found = *comparison_;
    const QString metric = found.sorted_by == "tv" ? tr("TV") : of_std(found.sorted_by);
    text = found.departure
               ? tr("First to depart (%1 above %2): %3 with %4")
                     .arg(metric, QString::number(workbench::kDepartFrom),
                          of_std(heads::to_string(HeadId{found.departure->layer, found.departure->head})),
                          distance_text(analysis::distance_value(*found.departure, found.sorted_by), false))
               : tr("No head departs: every %1 is at most %2").arg(metric, QString::number(workbench::kDepartFrom));
  }
  result_->setText(text);
  result_->setVisible(!text.isEmpty() && comparing);
}

void ComparisonPanel::fill() {
  table_->setRowCount(0);
  if (!comparison_) return;
  const auto& heads = comparison_->heads;
  const auto rows = std::min(heads.size(), kShownDistances);
  table_->setRowCount(static_cast<int>(rows));
  for (std::size_t n = 0; n < rows; ++n) {
    const auto& d = heads[n];
    const QString cells[] = {of_std(headlight::heads::to_string(HeadId{d.layer, d.head})),
                             distance_text(d.tv, false),
                             distance_text(d.js, false),
                             distance_text(d.max_abs, false),
                             distance_text(d.entropy, true),
                             distance_text(d.received0, true)};
    for (int column = 0; column < kDistanceColumns; ++column) {
      auto* item = new QTableWidgetItem(cells[column]);
      if (column != kHead) item->setTextAlignment(Qt::AlignRight | Qt::AlignVCenter);
      table_->setItem(static_cast<int>(n), column, item);
    }
  }
}

void ComparisonPanel::choose(int row) {
  if (!comparison_ || row < 0 || row >= std::ssize(comparison_->heads)) return;
  const auto& chosen = comparison_->heads[static_cast<std::size_t>(row)];
  workspace_.set_side(MapSide::difference);
  workspace_.select_head({chosen.layer, chosen.head});
}

}  // namespace headlight::gui
