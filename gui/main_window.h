#pragma once

#include <QMainWindow>
#include <QProgressBar>
#include <QSettings>
#include <QStackedWidget>

#include "gui/comparison_panel.h"
#include "gui/dashboard_panel.h"
#include "gui/findings_panel.h"
#include "gui/head_panel.h"
#include "gui/intervention_panel.h"
#include "gui/map_panel.h"
#include "gui/message_bar.h"
#include "gui/prediction_panel.h"
#include "gui/prompt_pane.h"
#include "gui/start_page.h"
#include "gui/token_strip.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// One project: prompt on top, heads at the left, the map in the middle, prediction and interventions at the right,
/// tokens below.
class MainWindow final : public QMainWindow {
  Q_OBJECT

 public:
  MainWindow();
  Workspace& workspace() { return workspace_; }
  PromptPane& prompt() { return *prompt_; }
  HeadPanel& heads() { return *heads_; }
  MapPanel& map() { return *map_; }
  InterventionPanel& interventions() { return *interventions_; }
  PredictionPanel& prediction() { return *prediction_; }
  FindingsPanel& findings() { return *findings_; }
  DashboardPanel& dashboard() { return *dashboard_; }
  ComparisonPanel& comparison() { return *comparison_; }
  /// Brings a dock to the front: "dock.findings".
  void show_dock(const QString& name);
  void open_file(const QString& path);

 protected:
  void closeEvent(QCloseEvent* event) override;
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dropEvent(QDropEvent* event) override;

 private:
  QDockWidget* add_dock(const QString& name, const QString& title, QWidget* content, Qt::DockWidgetArea area);
  void make_docks();
  void make_actions();
  void make_edit_actions();
  void make_view_actions();
  void make_status();
  void follow_capture();
  void follow_project();
  void remember(const QString& path);
  bool may_discard();
  bool save(bool as);
  void open();
  void open_for_comparison();
  void export_view();
  void export_head_grid();
  void write_export(const QString& path, bool map);
  void copy_map();
  void copy_command();
  void default_layout();

  Workspace workspace_;
  QSettings settings_;
  PromptPane* prompt_;
  HeadPanel* heads_;
  MapPanel* map_;
  PredictionPanel* prediction_;
  InterventionPanel* interventions_;
  FindingsPanel* findings_;
  DashboardPanel* dashboard_;
  ComparisonPanel* comparison_;
  TokenStrip* tokens_;
  StartPage* start_;
  QStackedWidget* pages_;
  MessageBar* message_;
  QProgressBar* progress_;
  QAction *undo_ = nullptr, *redo_ = nullptr, *end_comparison_ = nullptr;
  std::vector<QAction*> need_capture_, side_actions_;
  std::vector<QDockWidget*> docks_;
};

}  // namespace headlight::gui
