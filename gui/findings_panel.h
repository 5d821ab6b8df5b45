#pragma once

#include <QFrame>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QTimer>
#include <QVBoxLayout>
#include <QWidget>
#include <memory>

#include "app/workbench/findings_list.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// One statement with how to read it and links to its evidence. A click or Enter shows the first piece.
class FindingCard final : public QFrame {
  Q_OBJECT

 public:
  FindingCard(Workspace& workspace, workbench::Finding finding,
              std::shared_ptr<const workbench::CaptureDocument> document, QWidget* parent = nullptr);
  const workbench::Finding& finding() const { return finding_; }
  void show_evidence(std::size_t head);

 protected:
  void mouseReleaseEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void paintEvent(QPaintEvent* event) override;

 private:
  QString links() const;
  void follow_link(const QString& link);

  Workspace& workspace_;
  workbench::Finding finding_;
  std::shared_ptr<const workbench::CaptureDocument> document_;
};

/// What the rules find in the shown record: ranked statements. They are looked for in the background, unasked where the
/// text is short.
class FindingsPanel final : public QWidget {
  Q_OBJECT

 public:
  explicit FindingsPanel(Workspace& workspace, QWidget* parent = nullptr);
  ~FindingsPanel() override;
  const std::vector<FindingCard*>& cards() const { return cards_; }
  bool busy() const { return job_ != nullptr; }
  void start();
  void cancel();
  QString state_text() const { return state_->text(); }

 protected:
  void showEvent(QShowEvent* event) override;

 private:
  void follow();
  void begin_unasked();
  void show_state();
  void fill(const workbench::FindingsList& list);
  void clear();

  Workspace& workspace_;
  QLabel* state_;
  QProgressBar* progress_;
  QPushButton* action_;
  QTimer unasked_;  // waits until a slider rests
  QVBoxLayout* list_;
  std::vector<FindingCard*> cards_;
  std::shared_ptr<const workbench::CaptureDocument> of_, job_;  // what is listed, what is looked at now
  QString problem_;
  ThreadPool pool_;                            // used by the thread of jobs_ only
  std::unique_ptr<workbench::JobQueue> jobs_;  // last: its thread uses what is above
};

}  // namespace headlight::gui
