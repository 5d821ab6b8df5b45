// Menus and what they do.

#include <QAction>
#include <QActionGroup>
#include <QApplication>
#include <QClipboard>
#include <QDockWidget>
#include <QFile>
#include <QFileDialog>
#include <QMenuBar>
#include <QMimeData>
#include <tuple>

#include "app/figure/figure.h"
#include "app/workbench/command_line.h"
#include "base/error.h"
#include "base/file.h"
#include "gui/main_window.h"
#include "gui/theme.h"
#include "gui/view_export.h"

namespace headlight::gui {
namespace {

const char* scale_name(figure::ScaleKind kind) {
  return kind == figure::ScaleKind::log ? "log" : kind == figure::ScaleKind::linear ? "linear" : "power";
}

}  // namespace

void MainWindow::make_actions() {
  QMenu* file = menuBar()->addMenu(tr("&File"));
  file->addAction(tr("&New"), QKeySequence::New, this, [this] {
    if (may_discard()) workspace_.new_project();
  });
  file->addAction(tr("&Open..."), QKeySequence::Open, this, &MainWindow::open);
  file->addAction(tr("Open &model..."), this, [this] { prompt_->choose_model_file(); });
  file->addSeparator();
  file->addAction(tr("&Save project"), QKeySequence::Save, this, [this] { save(false); });
  file->addAction(tr("Save project &as..."), QKeySequence::SaveAs, this, [this] { save(true); });
  file->addSeparator();
  need_capture_.push_back(
      file->addAction(tr("&Export map..."), QKeySequence(tr("Ctrl+E")), this, &MainWindow::export_view));
  need_capture_.push_back(file->addAction(tr("Export head &grid..."), this, &MainWindow::export_head_grid));
  file->addSeparator();
  file->addAction(tr("&Quit"), QKeySequence::Quit, this, &QWidget::close);
  make_edit_actions();
  QMenu* run = menuBar()->addMenu(tr("&Run"));
  auto* start = run->addAction(tr("&Run prompt"), QKeySequence(tr("Ctrl+Return")), this, [this] { prompt_->run(); });
  start->setShortcuts({QKeySequence(tr("Ctrl+Return")), QKeySequence(tr("Ctrl+Enter"))});
  run->addAction(tr("&Stop"), QKeySequence(tr("Ctrl+.")), &workspace_, &Workspace::stop);
  QMenu* compare = menuBar()->addMenu(tr("&Compare"));
  need_capture_.push_back(
      compare->addAction(tr("&Pin what is shown as B"), QKeySequence(tr("Ctrl+Shift+P")), this, [this] {
        workspace_.pin();
        show_dock(QStringLiteral("dock.comparison"));
      }));
  need_capture_.push_back(compare->addAction(tr("&Open capture as B..."), QKeySequence(tr("Ctrl+Shift+O")), this,
                                             &MainWindow::open_for_comparison));
  end_comparison_ = compare->addAction(tr("&End comparison"), &workspace_, &Workspace::end_comparison);
  make_view_actions();
}

void MainWindow::make_edit_actions() {
  QMenu* edit = menuBar()->addMenu(tr("&Edit"));
  undo_ = edit->addAction(tr("&Undo"), QKeySequence::Undo, &workspace_, &Workspace::undo);
  redo_ = edit->addAction(tr("&Redo"), QKeySequence(tr("Ctrl+Shift+Z")), &workspace_, &Workspace::redo);
  edit->addSeparator();
  need_capture_.push_back(
      edit->addAction(tr("&Copy map"), QKeySequence(tr("Ctrl+Shift+C")), this, &MainWindow::copy_map));
  edit->addAction(tr("Copy as &command line"), this, &MainWindow::copy_command);
  edit->addSeparator();
  need_capture_.push_back(
      edit->addAction(tr("&Filter heads"), QKeySequence::Find, this, [this] { heads_->focus_filter(); }));
}

void MainWindow::make_view_actions() {
  QMenu* view = menuBar()->addMenu(tr("&View"));
  need_capture_.push_back(
      view->addAction(tr("Zoom &in"), QKeySequence::ZoomIn, this, [this] { map_->view()->zoom(1.25); }));
  need_capture_.push_back(
      view->addAction(tr("Zoom &out"), QKeySequence::ZoomOut, this, [this] { map_->view()->zoom(0.8); }));
  need_capture_.push_back(
      view->addAction(tr("&Fit map"), QKeySequence(tr("Ctrl+0")), this, [this] { map_->view()->fit(); }));
  view->addSeparator();
  for (std::size_t n = 0; n < 3; ++n)
    side_actions_.push_back(view->addAction(workspace_.side_name(workspace_.sides()[n]),
                                            QKeySequence(tr("Ctrl+%1").arg(n + 1)), this,
                                            [this, n] { workspace_.set_side(workspace_.sides()[n]); }));
  view->addSeparator();
  for (auto* dock : docks_) view->addAction(dock->toggleViewAction());
  view->addAction(tr("&Default layout"), this, &MainWindow::default_layout);
  QMenu* themes = view->addMenu(tr("&Theme"));
  auto* group = new QActionGroup(this);
  const QString stored = settings_.value(QStringLiteral("theme"), QStringLiteral("system")).toString();
  const std::tuple<QString, QString, ThemeChoice> choices[] = {
      {tr("&System"), QStringLiteral("system"), ThemeChoice::system},
      {tr("&Light"), QStringLiteral("light"), ThemeChoice::light},
      {tr("&Dark"), QStringLiteral("dark"), ThemeChoice::dark}};
  for (const auto& [text, name, choice] : choices) {
    auto* action = themes->addAction(text, this, [this, theme = name, chosen = choice] {
      settings_.setValue(QStringLiteral("theme"), theme);
      apply_theme(*static_cast<QApplication*>(QApplication::instance()), chosen);
      map_->view()->set_scale_kind(map_->view()->scale_kind());  // colours of tiles are made anew
    });
    action->setCheckable(true);
    action->setChecked(name == stored);
    group->addAction(action);
  }
}

void MainWindow::export_view() {
  if (!workspace_.selection().head) return;
  const QString path = QFileDialog::getSaveFileName(this, tr("Export map"), QStringLiteral("map.png"),
                                                    tr("Pictures and tables (*.png *.svg *.pdf *.csv)"));
  if (!path.isEmpty()) write_export(path, true);
}

void MainWindow::export_head_grid() {
  const QString path = QFileDialog::getSaveFileName(this, tr("Export head grid"), QStringLiteral("heads.png"),
                                                    tr("Pictures and tables (*.png *.svg *.pdf *.csv)"));
  if (!path.isEmpty()) write_export(path, false);
}

void MainWindow::write_export(const QString& path, bool map) {
  const HeadId head = workspace_.selection().head.value_or(HeadId{});
  workspace_.in_background(tr("Writing %1").arg(path.section(QLatin1Char('/'), -1)),
                           [file = path.toStdString(), shown = shown_side(workspace_), map, head,
                            kind = map_->view()->scale_kind(), metric = workspace_.metric()] {
                             if (map)
                               export_map(file, shown, head, kind);
                             else
                               export_grid(file, shown, metric);
                           });
}

void MainWindow::copy_map() {
  auto* copied = new QMimeData;
  copied->setImageData(map_->view()->grab().toImage());
  const auto* document = workspace_.shown();
  constexpr std::int64_t kMostRows = 256;  // more is no table to paste
  if (workspace_.selection().head && document->num_tokens() <= kMostRows) {
    try {
      copied->setText(QString::fromStdString(map_csv_of(shown_side(workspace_), *workspace_.selection().head)));
    } catch (const Error&) {  // block maxima, different texts: the picture alone
    }
  }
  QApplication::clipboard()->setMimeData(copied);
}

void MainWindow::copy_command() {
  const auto* document = workspace_.document_a().get();
  const auto* other = workspace_.document_b().get();
  std::string text;
  if (other != nullptr && !other->path().empty() && !document->path().empty())
    text = workbench::command_of_comparison(document->path(), other->path());
  else if (document != nullptr && !document->path().empty() && workspace_.selection().head)
    text = workbench::command_of_map(document->path(), document->record_number(), *workspace_.selection().head,
                                     scale_name(map_->view()->scale_kind()), "map.png") +
           workbench::command_of_grid(document->path(), document->record_number(), workspace_.metric(),
                                      workspace_.filter_text().toStdString());
  else
    text = workbench::command_of_run(workspace_.project(), workbench::LiveSession::kTopTokens);
  QApplication::clipboard()->setText(QString::fromStdString(text));
}

}  // namespace headlight::gui
