// Pictures of the window for its guide and for review: runs a prompt, changes it, and grabs each state.
// Usage: gui_screenshots MODEL FOLDER light|dark SUFFIX [CAPTURE]

#include <QApplication>
#include <QDir>
#include <QElapsedTimer>
#include <QTimer>
#include <cstdio>

#include "gui/main_window.h"
#include "gui/theme.h"

namespace headlight::gui {
namespace {

class Photographer {
 public:
  Photographer(QString folder, QString suffix) : folder_(std::move(folder)), suffix_(std::move(suffix)) {
    window_.resize(1440, 900);
    window_.show();
  }

  int run(const std::string& model, const char* capture) {
    wait(300);
    take("start");
    auto project = space().project();
    project.model = model;
    space().change(QStringLiteral("Choose model"), std::move(project));
    window_.prompt().set_prompt(
        {workbench::PromptKind::raw, "When Mary and John went to the store, John gave a drink to", {}});
    window_.prompt().run();
    settle();
    if (space().result() == nullptr) {
      take("failed");
      return 1;
    }
    take("run");
    show("dock.findings");
    take("findings");
    show("dock.interventions");
    space().select_cell(9, 1);
    settle();
    take("cell");
    space().scale_heads({space().selection().head.value()}, 0.0);
    settle();
    space().add_intervention("zero-tuning", {});
    auto changed = space().project();
    changed.interventions.back().params["gamma"] = 0.3;
    space().change(QStringLiteral("gamma"), std::move(changed));
    settle();
    take("after");
    show("dock.dashboard");
    window_.dashboard().set_measure(1);
    take("dashboard");
    window_.dashboard().set_measure(0);
    space().set_side(MapSide::difference);
    space().select_cell(std::nullopt, std::nullopt);
    settle();
    take("dashboard-change");
    show("dock.heads");
    take("change");
    window_.open_file(QStringLiteral("missing.h5"));
    settle();
    take("error");
    space().pin();
    auto less = space().project();
    less.interventions.pop_back();
    space().change(QStringLiteral("without"), std::move(less));
    show("dock.comparison");
    if (const auto& found = window_.comparison().comparison())
      space().select_head({found->heads.front().layer, found->heads.front().head});
    space().set_side(MapSide::difference);
    settle();
    take("comparison");
    space().end_comparison();
    show("dock.interventions");
    if (capture == nullptr) return 0;
    space().new_project();
    window_.open_file(QString::fromLocal8Bit(capture));
    settle();
    take("capture");
    show("dock.dashboard");
    take("dashboard-capture");
    show("dock.heads");
    show("dock.findings");
    window_.findings().start();
    settle();
    take("findings-capture");
    for (int n = 0; n < 8; ++n) window_.map().view()->zoom(1.5);
    settle();
    take("zoom");
    return 0;
  }

 private:
  Workspace& space() { return window_.workspace(); }
  void wait(int milliseconds) {
    QElapsedTimer clock;
    clock.start();
    while (clock.elapsed() < milliseconds) QApplication::processEvents(QEventLoop::AllEvents, 20);
  }
  void show(const char* dock) {
    window_.show_dock(QString::fromLatin1(dock));
    wait(400);  // what a dock begins unasked
    settle();
  }
  /// Until runs and tiles are there, 60 s at most.
  void settle() {
    wait(100);
    QElapsedTimer clock;
    clock.start();
    while (clock.elapsed() < 60000 && (space().busy() || window_.findings().busy() || window_.comparison().busy() ||
                                       (space().base() != nullptr && !window_.map().view()->is_complete())))
      wait(50);
    wait(200);
  }
  void take(const char* name) {
    const QString path = QDir(folder_).filePath(QString::fromLatin1(name) + suffix_ + QStringLiteral(".png"));
    if (!window_.grab().save(path)) std::fprintf(stderr, "cannot write %s\n", qPrintable(path));
  }

  QString folder_, suffix_;
  MainWindow window_;
};

}  // namespace
}  // namespace headlight::gui

int main(int argc, char** argv) {
  using namespace headlight::gui;
  QApplication application(argc, argv);
  if (argc != 5 && argc != 6) {
    std::fprintf(stderr, "usage: gui_screenshots MODEL FOLDER light|dark SUFFIX [CAPTURE]\n");
    return 2;
  }
  QDir().mkpath(QString::fromLocal8Bit(argv[2]));
  QApplication::setCursorFlashTime(0);
  apply_theme(application,
              QString::fromLatin1(argv[3]) == QStringLiteral("dark") ? ThemeChoice::dark : ThemeChoice::light);
  return Photographer(QString::fromLocal8Bit(argv[2]), QString::fromLocal8Bit(argv[4]))
      .run(argv[1], argc == 6 ? argv[5] : nullptr);
}
