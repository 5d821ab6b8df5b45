#include "gui/main_window.h"

#include <QCloseEvent>
#include <QDockWidget>
#include <QDragEnterEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QMessageBox>
#include <QMimeData>
#include <QStatusBar>
#include <QVBoxLayout>

#include "gui/inspector.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

constexpr int kLayoutVersion = 2;

}  // namespace

MainWindow::MainWindow()
    : settings_(QSettings::IniFormat, QSettings::UserScope, QStringLiteral("headlight"), QStringLiteral("gui")),
      prompt_(new PromptPane(workspace_)),
      heads_(new HeadPanel(workspace_)),
      map_(new MapPanel(workspace_)),
      prediction_(new PredictionPanel(workspace_)),
      interventions_(new InterventionPanel(workspace_)),
      findings_(new FindingsPanel(workspace_)),
      dashboard_(new DashboardPanel(workspace_)),
      comparison_(new ComparisonPanel(workspace_)),
      tokens_(new TokenStrip(workspace_)),
      start_(new StartPage),
      pages_(new QStackedWidget),
      message_(new MessageBar),
      progress_(new QProgressBar) {
  setAcceptDrops(true);
  pages_->addWidget(start_);
  pages_->addWidget(map_);
  auto* centre = new QWidget;
  auto* layout = new QVBoxLayout(centre);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  layout->addWidget(message_);
  layout->addWidget(pages_, 1);
  setCentralWidget(centre);
  make_docks();
  make_actions();
  make_status();
  connect(start_, &StartPage::openWanted, this, &MainWindow::open);
  connect(start_, &StartPage::fileWanted, this, &MainWindow::open_file);
  connect(start_, &StartPage::sampleWanted, this, [this](const QString& text) {
    prompt_->set_prompt({workbench::PromptKind::raw, text.toStdString(), {}});
    prompt_->run();
  });
  connect(&workspace_, &Workspace::captureChanged, this, &MainWindow::follow_capture);
  connect(&workspace_, &Workspace::projectChanged, this, &MainWindow::follow_project);
  connect(&workspace_, &Workspace::fileOpened, this, &MainWindow::remember);
  connect(&workspace_, &Workspace::failed, message_, &MessageBar::show_message);
  connect(&workspace_, &Workspace::captureChanged, message_, &QWidget::hide);
  connect(comparison_, &ComparisonPanel::openWanted, this, &MainWindow::open_for_comparison);
  start_->set_recent(settings_.value(QStringLiteral("recent")).toStringList());
  resize(1440, 900);
  restoreGeometry(settings_.value(QStringLiteral("geometry")).toByteArray());
  restoreState(settings_.value(QStringLiteral("state")).toByteArray(), kLayoutVersion);
  follow_capture();
  follow_project();
}

QDockWidget* MainWindow::add_dock(const QString& name, const QString& title, QWidget* content,
                                  Qt::DockWidgetArea area) {
  auto* dock = new QDockWidget(title);
  dock->setObjectName(name);
  dock->setWidget(content);
  addDockWidget(area, dock);
  docks_.push_back(dock);
  return dock;
}

void MainWindow::make_docks() {
  setCorner(Qt::BottomLeftCorner, Qt::LeftDockWidgetArea);
  setCorner(Qt::BottomRightCorner, Qt::RightDockWidgetArea);
  setDockOptions(AnimatedDocks | AllowTabbedDocks | AllowNestedDocks);
  add_dock(QStringLiteral("dock.prompt"), tr("Prompt"), prompt_, Qt::TopDockWidgetArea);
  auto* heads = add_dock(QStringLiteral("dock.heads"), tr("Heads"), heads_, Qt::LeftDockWidgetArea);
  auto* dashboard =
      add_dock(QStringLiteral("dock.dashboard"), tr("Sinks and entropy"), dashboard_, Qt::LeftDockWidgetArea);
  auto* next = add_dock(QStringLiteral("dock.prediction"), tr("Next token"), prediction_, Qt::RightDockWidgetArea);
  auto* stack =
      add_dock(QStringLiteral("dock.interventions"), tr("Interventions"), interventions_, Qt::RightDockWidgetArea);
  auto* inspector =
      add_dock(QStringLiteral("dock.inspector"), tr("Inspector"), new Inspector(workspace_), Qt::RightDockWidgetArea);
  auto* findings = add_dock(QStringLiteral("dock.findings"), tr("Findings"), findings_, Qt::RightDockWidgetArea);
  auto* comparison =
      add_dock(QStringLiteral("dock.comparison"), tr("Comparison"), comparison_, Qt::RightDockWidgetArea);
  add_dock(QStringLiteral("dock.tokens"), tr("Tokens"), tokens_, Qt::BottomDockWidgetArea);
  splitDockWidget(next, stack, Qt::Vertical);
  tabifyDockWidget(heads, dashboard);
  heads->raise();
  tabifyDockWidget(stack, inspector);
  tabifyDockWidget(inspector, findings);
  tabifyDockWidget(findings, comparison);
  stack->raise();
  default_layout();
}

void MainWindow::default_layout() {
  for (auto* dock : docks_) {
    dock->setFloating(false);
    dock->show();
  }
  const auto dock = [&](const char* name) { return findChild<QDockWidget*>(QLatin1String(name)); };
  resizeDocks({dock("dock.heads"), dock("dock.prediction")}, {330, 360}, Qt::Horizontal);
  resizeDocks({dock("dock.prompt"), dock("dock.tokens")}, {110, 120}, Qt::Vertical);
  resizeDocks({dock("dock.prediction"), dock("dock.interventions")}, {300, 400}, Qt::Vertical);
}

void MainWindow::show_dock(const QString& name) {
  if (auto* dock = findChild<QDockWidget*>(name)) {
    dock->show();
    dock->raise();
  }
}

void MainWindow::make_status() {
  progress_->setMaximumWidth(180);
  progress_->setTextVisible(false);
  progress_->hide();
  statusBar()->addPermanentWidget(progress_);
  connect(&workspace_, &Workspace::statusChanged, this, [this](const QString& text, double share) {
    const bool idle = text.isEmpty();
    progress_->setVisible(!idle && workspace_.busy());
    progress_->setRange(0, share < 0 ? 0 : 1000);
    if (share >= 0) progress_->setValue(static_cast<int>(share * 1000));
    if (!idle)
      statusBar()->showMessage(text);
    else
      follow_capture();
  });
}

void MainWindow::follow_capture() {
  const auto* document = workspace_.base();
  pages_->setCurrentWidget(document != nullptr ? static_cast<QWidget*>(map_) : start_);
  for (auto* action : need_capture_) action->setEnabled(document != nullptr);
  const auto sides = workspace_.sides();
  for (std::size_t n = 0; n < side_actions_.size(); ++n) {
    side_actions_[n]->setText(QLatin1Char('&') + workspace_.side_name(sides[n]));
    side_actions_[n]->setEnabled(workspace_.changed() != nullptr);
  }
  end_comparison_->setEnabled(workspace_.comparing());
  if (document == nullptr) {
    statusBar()->clearMessage();
    return;
  }
  QString text = tr("%1   |   %2 tokens   |   %3 layers of %4 heads")
                     .arg(QString::fromStdString(document->header().model.name))
                     .arg(document->num_tokens())
                     .arg(document->layers().size())
                     .arg(document->num_heads());
  if (workspace_.comparing())
    text = tr("Comparing A and B   |   ") + text;
  else if (!document->path().empty())
    text = QString::fromStdString(document->name()) + QStringLiteral("   |   ") + text;
  if (!document->is_complete()) text += tr("   |   incomplete: the run was interrupted");
  statusBar()->showMessage(text);
}

void MainWindow::follow_project() {
  const auto& history = workspace_.history();
  const QString path = workspace_.project_path();
  setWindowTitle(tr("%1[*] \u2013 Headlight").arg(path.isEmpty() ? tr("Untitled") : QFileInfo(path).fileName()));
  setWindowModified(!history.is_clean());
  undo_->setEnabled(history.can_undo());
  redo_->setEnabled(history.can_redo());
  const auto named = [](const QString& verb, const std::string& what) {
    return what.empty() ? verb : verb + QLatin1Char(' ') + QString::fromStdString(what).left(48);
  };
  undo_->setText(named(tr("&Undo"), history.undo_label()));
  redo_->setText(named(tr("&Redo"), history.redo_label()));
}

void MainWindow::remember(const QString& path) {
  QStringList recent = settings_.value(QStringLiteral("recent")).toStringList();
  const QString absolute = QFileInfo(path).absoluteFilePath();
  recent.removeAll(absolute);
  recent.prepend(absolute);
  settings_.setValue(QStringLiteral("recent"), QStringList(recent.mid(0, 20)));
  start_->set_recent(recent);
}

void MainWindow::open_file(const QString& path) {
  workspace_.open_file(path);
}

void MainWindow::open() {
  const QString path = QFileDialog::getOpenFileName(
      this, tr("Open"), {}, tr("Captures, projects, interventions (*.h5 *.json);;All files (*)"));
  if (!path.isEmpty()) open_file(path);
}

void MainWindow::open_for_comparison() {
  const QString path =
      QFileDialog::getOpenFileName(this, tr("Open capture as B"), {}, tr("Captures (*.h5);;All files (*)"));
  if (path.isEmpty()) return;
  workspace_.open_other(path);
  show_dock(QStringLiteral("dock.comparison"));
}

bool MainWindow::save(bool as) {
  QString path = workspace_.project_path();
  if (as || path.isEmpty()) {
    path = QFileDialog::getSaveFileName(this, tr("Save project"),
                                        path.isEmpty() ? QStringLiteral("untitled.headlight.json") : path,
                                        tr("Headlight projects (*.headlight.json)"));
    if (path.isEmpty()) return false;
    if (!path.endsWith(QStringLiteral(".json"))) path += QStringLiteral(".headlight.json");
  }
  return workspace_.save_project(path);
}

bool MainWindow::may_discard() {
  if (workspace_.history().is_clean() || workspace_.project().interventions.empty()) return true;
  const auto answer = QMessageBox::question(this, tr("Unsaved changes"), tr("Save the project before closing it?"),
                                            QMessageBox::Save | QMessageBox::Discard | QMessageBox::Cancel);
  return answer == QMessageBox::Discard || (answer == QMessageBox::Save && save(false));
}

void MainWindow::closeEvent(QCloseEvent* event) {
  if (!may_discard()) {
    event->ignore();
    return;
  }
  settings_.setValue(QStringLiteral("geometry"), saveGeometry());
  settings_.setValue(QStringLiteral("state"), saveState(kLayoutVersion));
  event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event) {
  for (const QUrl& url : event->mimeData()->urls())
    if (url.isLocalFile()) return open_file(url.toLocalFile());
}

}  // namespace headlight::gui
