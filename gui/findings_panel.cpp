#include "gui/findings_panel.h"

#include <QKeyEvent>
#include <QMetaObject>
#include <QMouseEvent>
#include <QPainter>
#include <QScrollArea>

#include "app/figure/draw.h"
#include "base/error.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr std::int64_t kUnaskedTokens = 512;  // longer texts take seconds: looked at when asked to

QString text_of_finding(const std::string& text) {
  return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

QLabel* words(const QString& text, bool muted) {
  auto* label = new QLabel(text);
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  if (!muted) return label;
  label->setFont(small_font());
  label->setForegroundRole(QPalette::PlaceholderText);
  return label;
}

}  // namespace

FindingCard::FindingCard(Workspace& workspace, workbench::Finding finding,
                         std::shared_ptr<const workbench::CaptureDocument> document, QWidget* parent)
    : QFrame(parent), workspace_(workspace), finding_(std::move(finding)), document_(std::move(document)) {
  setObjectName(QStringLiteral("finding"));
  setAccessibleName(text_of_finding(finding_.statement));
  setAccessibleDescription(text_of_finding(finding_.meaning));
  setFocusPolicy(Qt::StrongFocus);
  setToolTip(tr("Rule %1, weight %2").arg(text_of_finding(finding_.rule), QString::number(finding_.weight, 'f', 2)));
  if (!finding_.evidence.heads.empty() || !finding_.evidence.tokens.empty()) setCursor(Qt::PointingHandCursor);
  auto* evidence = words({}, true);
  evidence->setTextFormat(Qt::RichText);
  evidence->setText(links());
  evidence->setTextInteractionFlags(Qt::LinksAccessibleByMouse | Qt::LinksAccessibleByKeyboard);
  connect(evidence, &QLabel::linkActivated, this, &FindingCard::follow_link);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(14, 8, 8, 8);
  layout->setSpacing(3);
  layout->addWidget(words(text_of_finding(finding_.statement), false));
  layout->addWidget(words(text_of_finding(finding_.meaning), true));
  if (!evidence->text().isEmpty())
    layout->addWidget(evidence);
  else
    delete evidence;
}

QString FindingCard::links() const {
  QStringList parts;
  const auto& evidence = finding_.evidence;
  for (std::size_t n = 0; n < evidence.heads.size(); ++n)
    parts += QStringLiteral("<a href=\"head:%1\">%2</a>")
                 .arg(n)
                 .arg(QString::fromStdString(heads::to_string(evidence.heads[n])));
  constexpr std::size_t kMostTokens = 6;
  for (std::size_t n = 0; n < std::min(kMostTokens, evidence.tokens.size()); ++n) {
    const std::int64_t at = evidence.tokens[n];
    if (at < 0 || at >= document_->num_tokens()) continue;
    const QString text =
        figure::label_text(document_->token_texts()[static_cast<std::size_t>(at)], figure::TextRole::tick);
    parts += QStringLiteral("<a href=\"token:%1\">%2&nbsp;\u201c%3\u201d</a>").arg(n).arg(at).arg(text.toHtmlEscaped());
  }
  return parts.join(QStringLiteral("&ensp; "));
}

void FindingCard::show_evidence(std::size_t head) {
  const std::string metric = workbench::evidence_metric(finding_, *document_);
  if (!metric.empty()) workspace_.set_metric(metric);
  workspace_.select(workbench::evidence_selection(finding_, *document_, workspace_.selection(), head));
}

void FindingCard::follow_link(const QString& link) {
  const auto number = link.section(QLatin1Char(':'), 1).toULongLong();
  if (link.startsWith(QStringLiteral("head:"))) return show_evidence(number);
  if (number < finding_.evidence.tokens.size())
    workspace_.select_cell(workspace_.selection().query, finding_.evidence.tokens[number]);
}

void FindingCard::mouseReleaseEvent(QMouseEvent* event) {
  if (event->button() == Qt::LeftButton && rect().contains(event->position().toPoint())) show_evidence(0);
}

void FindingCard::keyPressEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_Return || event->key() == Qt::Key_Enter || event->key() == Qt::Key_Space)
    show_evidence(0);
  else
    QFrame::keyPressEvent(event);
}

// The stripe at the left is as long as the finding is telling.
void FindingCard::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.fillRect(rect(), palette().base());
  const QRectF stripe(4, 8, 3, height() - 16);
  painter.fillRect(stripe, palette().color(QPalette::Midlight));
  const double share = finding_.nothing_found ? 0.0 : std::clamp(finding_.weight, 0.0, 1.0);
  painter.fillRect(QRectF(stripe.left(), stripe.top(), stripe.width(), stripe.height() * share), accent_color());
  painter.setPen(palette().color(QPalette::Mid));
  painter.drawLine(rect().bottomLeft(), rect().bottomRight());
  if (!hasFocus()) return;
  painter.setPen(QPen(accent_color(), 2));
  painter.drawRect(rect().adjusted(1, 1, -1, -1));
}

FindingsPanel::FindingsPanel(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      state_(words({}, true)),
      progress_(new QProgressBar),
      action_(new QPushButton),
      list_(new QVBoxLayout),
      pool_(std::max(1, ThreadPool::available_threads())) {
  setObjectName(QStringLiteral("findings"));
  action_->setObjectName(QStringLiteral("findings_action"));
  progress_->setTextVisible(false);
  progress_->setMaximumHeight(4);
  auto* content = new QWidget;
  content->setLayout(list_);
  content->setBackgroundRole(QPalette::Base);
  content->setAutoFillBackground(true);
  list_->setContentsMargins(0, 0, 0, 0);
  list_->setSpacing(0);
  list_->addStretch(1);
  auto* area = new QScrollArea;
  area->setWidget(content);
  area->setWidgetResizable(true);
  area->setFrameShape(QFrame::NoFrame);
  area->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* heading = new QHBoxLayout;
  heading->setContentsMargins(10, 6, 8, 4);
  heading->addWidget(state_, 1);
  heading->addWidget(action_, 0, Qt::AlignTop);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  layout->addLayout(heading);
  layout->addWidget(progress_);
  layout->addWidget(area, 1);
  jobs_ = std::make_unique<workbench::JobQueue>(
      [this](workbench::JobQueue::Delivery delivery) {
        QMetaObject::invokeMethod(this, std::move(delivery), Qt::QueuedConnection);
      },
      [this](const workbench::JobStatus& status) {
        if (!job_) return;
        progress_->setRange(0, static_cast<int>(status.total));
        progress_->setValue(static_cast<int>(status.done));
        if (!status.phase.empty()) state_->setText(tr("Looking: %1").arg(text_of_finding(status.phase)));
      });
  unasked_.setSingleShot(true);
  unasked_.setInterval(300);
  connect(&unasked_, &QTimer::timeout, this, &FindingsPanel::begin_unasked);
  connect(action_, &QPushButton::clicked, this, [this] { busy() ? cancel() : start(); });
  connect(&workspace_, &Workspace::captureChanged, this, &FindingsPanel::follow);
  connect(&workspace_, &Workspace::sideChanged, this, &FindingsPanel::follow);
  connect(&workspace_, &Workspace::busyChanged, this, [this] { unasked_.start(); });  // a run had to end first
  show_state();
}

FindingsPanel::~FindingsPanel() {
  jobs_.reset();
}

void FindingsPanel::follow() {
  problem_.clear();
  if (job_ && job_ != workspace_.shown_document()) cancel();
  if (workspace_.base() == nullptr) clear();
  unasked_.start();
  show_state();
}

void FindingsPanel::showEvent(QShowEvent*) {
  unasked_.start();
}

void FindingsPanel::begin_unasked() {
  const auto document = workspace_.shown_document();
  if (isVisible() && !workspace_.busy() && document && document != of_ && !busy() && problem_.isEmpty() &&
      document->num_tokens() <= kUnaskedTokens)
    start();
}

void FindingsPanel::start() {
  job_ = workspace_.shown_document();
  if (!job_) return;
  problem_.clear();
  jobs_->submit(
      "findings", "Findings",
      [this, document = job_](workbench::JobContext& context) -> workbench::JobQueue::Delivery {
        auto list = workbench::find_in(*document, pool_, context);
        return [this, document, list = std::move(list)] {
          job_.reset();
          of_ = document;
          fill(list);
          show_state();
        };
      },
      [this](const Error& error) {
        job_.reset();
        problem_ = text_of_finding(error.what());
        show_state();
      });
  show_state();
}

void FindingsPanel::cancel() {
  jobs_->cancel_all();
  job_.reset();
  show_state();
}

void FindingsPanel::show_state() {
  const auto document = workspace_.shown_document();
  progress_->setVisible(busy());
  action_->setEnabled(document != nullptr);
  action_->setText(busy() ? tr("Cancel") : of_ ? tr("Look again") : tr("Look"));
  action_->setVisible(busy() || !document || document != of_);
  QString text;
  if (!document)
    text =
        tr("What is remarkable in a text: heads that look at the first token, sinks, similar heads. "
           "Run a prompt or open a capture.");
  else if (busy())
    text = tr("Looking...");
  else if (!problem_.isEmpty())
    text = problem_;
  else if (!of_)
    text = tr("Looks through %1 tokens of %2.").arg(document->num_tokens()).arg(text_of_finding(document->name()));
  else if (document != of_)
    text = tr("Of %1, not of what is shown now.").arg(text_of_finding(of_->name()));
  else
    text = tr("Of %1, %2 tokens. Click a finding to see it.").arg(text_of_finding(of_->name())).arg(of_->num_tokens());
  state_->setText(text);
}

void FindingsPanel::clear() {
  of_.reset();
  cards_.clear();
  while (list_->count() > 1) {  // all but the stretch
    QLayoutItem* item = list_->takeAt(0);
    delete item->widget();
    delete item;
  }
}

void FindingsPanel::fill(const workbench::FindingsList& list) {
  const auto document = of_;
  clear();
  of_ = document;
  const auto add = [&](QWidget* widget) { list_->insertWidget(list_->count() - 1, widget); };
  const auto heading = [&](const QString& text) {
    auto* label = words(text, true);
    label->setContentsMargins(14, 10, 8, 4);
    add(label);
  };
  bool not_found = false;
  for (const auto& finding : list.findings) {
    if (finding.nothing_found && !not_found) heading(tr("Looked for and not found"));
    not_found = finding.nothing_found;
    cards_.push_back(new FindingCard(workspace_, finding, document));
    add(cards_.back());
  }
  if (list.not_available.empty()) return;
  QStringList missing;
  for (const auto& line : list.not_available) missing += text_of_finding(line);
  heading(tr("Analyses that this capture does not supply") + QStringLiteral("\n") + missing.join(QStringLiteral("\n")));
}

}  // namespace headlight::gui
