#pragma once

#include <QPushButton>
#include <QVBoxLayout>
#include <QWidget>

namespace headlight::gui {

/// What is seen before anything is loaded: ways to begin.
class StartPage final : public QWidget {
  Q_OBJECT

 public:
  explicit StartPage(QWidget* parent = nullptr);
  void set_recent(const QStringList& paths);

 Q_SIGNALS:
  void sampleWanted(const QString& prompt);
  void openWanted();
  void fileWanted(const QString& path);

 private:
  QVBoxLayout* recent_;
};

}  // namespace headlight::gui
