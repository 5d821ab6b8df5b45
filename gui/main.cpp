#include <QApplication>
#include <QCommandLineParser>
#include <QSettings>

#include "gui/main_window.h"
#include "gui/theme.h"

int main(int argc, char** argv) {
  using namespace headlight::gui;
  QApplication application(argc, argv);
  QApplication::setApplicationName(QStringLiteral("headlight-gui"));
  QApplication::setApplicationDisplayName(QStringLiteral("Headlight"));
  QApplication::setApplicationVersion(QStringLiteral(HEADLIGHT_VERSION));

  QCommandLineParser parser;
  parser.setApplicationDescription(
      QStringLiteral("What the attention heads of a language model do, and what changes when you change them."));
  parser.addHelpOption();
  parser.addVersionOption();
  parser.addPositionalArgument(QStringLiteral("FILE"),
                               QStringLiteral("Capture (.h5), project or intervention file (.json)"),
                               QStringLiteral("[FILE]"));
  const QCommandLineOption model(QStringLiteral("model"), QStringLiteral("Model file, folder or registry name."),
                                 QStringLiteral("MODEL"));
  const QCommandLineOption prompt({QStringLiteral("p"), QStringLiteral("prompt")}, QStringLiteral("Run this prompt."),
                                  QStringLiteral("TEXT"));
  const QCommandLineOption theme(QStringLiteral("theme"), QStringLiteral("system, light or dark."),
                                 QStringLiteral("THEME"));
  parser.addOptions({model, prompt, theme});
  parser.process(application);

  const QString stored =
      QSettings(QSettings::IniFormat, QSettings::UserScope, QStringLiteral("headlight"), QStringLiteral("gui"))
          .value(QStringLiteral("theme"))
          .toString();
  const QString name = parser.isSet(theme) ? parser.value(theme) : stored;
  apply_theme(application, name == QStringLiteral("dark")    ? ThemeChoice::dark
                           : name == QStringLiteral("light") ? ThemeChoice::light
                                                             : ThemeChoice::system);
  MainWindow window;
  if (parser.isSet(model)) {
    auto next = window.workspace().project();
    next.model = parser.value(model).toStdString();
    window.workspace().change(QStringLiteral("Choose model"), std::move(next));
  }
  window.show();
  if (!parser.positionalArguments().isEmpty()) window.open_file(parser.positionalArguments().first());
  if (parser.isSet(prompt)) {
    window.prompt().set_prompt({headlight::workbench::PromptKind::raw, parser.value(prompt).toStdString(), {}});
    window.prompt().run();
  }
  return QApplication::exec();
}
