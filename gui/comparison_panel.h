#pragma once

#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QTableWidget>
#include <QWidget>
#include <memory>

#include "app/workbench/comparison.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// A against B head by head: the distances of `headlight compare`, the largest first. A click shows A - B of the head.
class ComparisonPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit ComparisonPanel(Workspace& workspace, QWidget* parent = nullptr);
  ~ComparisonPanel() override;
  bool busy() const { return busy_; }
  const std::optional<workbench::Comparison>& comparison() const { return comparison_; }
  QTableWidget* table() { return table_; }
  QString state_text() const { return state_->text(); }

 Q_SIGNALS:
  void openWanted();

 protected:
  void showEvent(QShowEvent* event) override;

 private:
  void follow();
  void begin();
  void show_state();
  void fill();
  void choose(int row);

  Workspace& workspace_;
  QLabel *state_, *result_;
  QPushButton *pin_, *open_, *end_;
  QProgressBar* progress_;
  QTableWidget* table_;
  std::optional<workbench::Comparison> comparison_;
  std::shared_ptr<const workbench::CaptureDocument> of_a_, of_b_;  // what is compared, or was
  bool busy_ = false;
  QString problem_;
  ThreadPool pool_;                            // used by the thread of jobs_ only
  std::unique_ptr<workbench::JobQueue> jobs_;  // last: its thread uses what is above
};

}  // namespace headlight::gui
