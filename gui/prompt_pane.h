#pragma once

#include <QComboBox>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QWidget>

#include "gui/workspace.h"

namespace headlight::gui {

/// Model, prompt, Run and Stop.
class PromptPane final : public QWidget {
  Q_OBJECT

 public:
  explicit PromptPane(Workspace& workspace, QWidget* parent = nullptr);
  void set_prompt(const workbench::PromptText& text);
  void run();
  void choose_model_file();

 private:
  void fill_models();
  void follow_project();
  void follow_busy();
  void count_tokens();
  workbench::PromptText typed() const;
  void store_model(const QString& model);

  Workspace& workspace_;
  workbench::PromptText followed_;  // the project's prompt that is shown
  QComboBox *model_, *kind_;
  QLineEdit* system_;
  QPlainTextEdit* text_;
  QLabel* count_;
  QPushButton *run_, *stop_;
};

}  // namespace headlight::gui
