// The window as a person uses it: keys and clicks, on a planted model whose heads have known roles.

#include <QApplication>
#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QLabel>
#include <QMenu>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSlider>
#include <QSpinBox>
#include <QStandardPaths>
#include <QTest>
#include <QTimer>
#include <QWheelEvent>
#include <filesystem>

#include <gtest/gtest.h>

#include "app/workbench/project.h"
#include "core/planted/planted_model.h"
#include "gui/main_window.h"
#include "gui/theme.h"
#include "gui/view_export.h"
#include "tests/support/temp_folder.h"

namespace headlight::gui {
namespace {

QApplication& application() {
  static int argc = 1;
  static char name[] = "gui_test";
  static char* argv[] = {name, nullptr};
  static auto* made = [] {
    qputenv("XDG_CONFIG_HOME", "/nonexistent");  // settings of the person who runs the test stay alone
    qputenv("HEADLIGHT_MODELS", "/nonexistent");
    QStandardPaths::setTestModeEnabled(true);
    QApplication::setCursorFlashTime(0);
    return new QApplication(argc, argv);
  }();
  return *made;
}

class WindowTest : public ::testing::Test {
 protected:
  WindowTest() {
    apply_theme(application(), ThemeChoice::light);
    planted::write_planted_model(planted::planted_model(), folder / "model", false);
    window = std::make_unique<MainWindow>();
    auto project = window->workspace().project();
    project.model = (folder / "model").string();
    window->workspace().change(QStringLiteral("Choose model"), std::move(project));
    window->resize(1400, 900);
    window->show();
    window->activateWindow();
    EXPECT_TRUE(QTest::qWaitForWindowActive(window.get()));
  }
  ~WindowTest() override { window->workspace().stop(); }

  template <class Condition>
  ::testing::AssertionResult eventually(Condition condition) {
    return QTest::qWaitFor(condition, 20000) ? ::testing::AssertionSuccess()
                                             : ::testing::AssertionFailure() << "nothing happened within 20 s";
  }
  template <class Widget>
  Widget* find(const char* name) {
    return window->findChild<Widget*>(QString::fromLatin1(name));
  }
  /// BOS and a text that repeats with period 11, typed and run.
  void run_prompt() {
    QString ids = QStringLiteral("0");
    for (int i = 0; i < 23; ++i) ids += QStringLiteral(" %1").arg(2 + i % 11);
    find<QComboBox>("prompt_kind")->setCurrentIndex(2);
    find<QPlainTextEdit>("prompt")->setPlainText(ids);
    QTest::keyClick(window.get(), Qt::Key_Return, Qt::ControlModifier);
    ASSERT_TRUE(eventually([&] { return space().result() != nullptr && !space().busy(); }));
  }
  Workspace& space() { return window->workspace(); }
  HeadGrid& grid() { return *window->heads().grid(); }
  void click_head(HeadId head) {
    QTest::mouseClick(&grid(), Qt::LeftButton, {}, grid().cell_of(head).center().toPoint());
  }
  /// Opens the context menu of a head and triggers the entry that begins so.
  void choose_in_menu(HeadId head, const QString& entry) {
    QTimer::singleShot(0, [this, entry] {
      auto* menu = find<QMenu>("head_menu");
      for (QAction* action : menu->actions())
        if (action->text().startsWith(entry)) action->trigger();
      menu->close();
    });
    const QPoint at = grid().cell_of(head).center().toPoint();
    QContextMenuEvent event(QContextMenuEvent::Mouse, at, grid().mapToGlobal(at));
    QApplication::sendEvent(&grid(), &event);
    window->activateWindow();  // the menu was active
    EXPECT_TRUE(QTest::qWaitForWindowActive(window.get()));
  }

  testing_support::TempFolder folder;
  std::unique_ptr<MainWindow> window;
};

TEST_F(WindowTest, BeginsEmptyAndSaysWhatToDo) {
  EXPECT_EQ(space().base(), nullptr);
  EXPECT_TRUE(window->findChild<QPushButton*>(QStringLiteral("sample"))->isVisible());
  EXPECT_FALSE(window->map().isVisible());
  EXPECT_FALSE(find<QPushButton>("stop")->isEnabled());
}

TEST_F(WindowTest, AnErrorIsASentenceAndTheWindowGoesOn) {
  QTest::keyClick(window.get(), Qt::Key_Return, Qt::ControlModifier);  // the model has no tokenizer
  ASSERT_TRUE(eventually([&] { return find<MessageBar>("message_bar")->isVisible(); }));
  EXPECT_TRUE(find<MessageBar>("message_bar")->text().contains(QStringLiteral("no tokenizer")));
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  EXPECT_FALSE(find<MessageBar>("message_bar")->isVisible());
}

TEST_F(WindowTest, AblatingTheInductionHeadLosesTheCopyAndUndoBringsItBack) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  const HeadId induction{1, 0};
  const std::int32_t copied = space().result()->next.top[0].id;
  EXPECT_FALSE(space().result()->is_changed());
  choose_in_menu(induction, QStringLiteral("Ablate"));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr; }));
  EXPECT_EQ(space().selection().head, induction);
  EXPECT_GT(space().result()->next.kl, 1.0);
  EXPECT_EQ(space().history().undo_label(), "Ablate L1H0");
  EXPECT_NE(window->prediction().lines().front().indexOf(QStringLiteral("KL")), -1);

  QTest::keyClick(window.get(), Qt::Key_Z, Qt::ControlModifier);
  ASSERT_TRUE(eventually([&] { return space().changed() == nullptr; }));
  EXPECT_EQ(space().result()->next.kl, 0.0);
  EXPECT_EQ(space().result()->next.top[0].id, copied);
}

TEST_F(WindowTest, ASliderDragIsOneStepAndItsIdentityChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  choose_in_menu({1, 0}, QStringLiteral("Ablate"));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr; }));
  auto* slider = find<QSlider>("slider_scale");
  auto* box = find<QDoubleSpinBox>("box_scale");
  ASSERT_NE(slider, nullptr);
  EXPECT_EQ(box->value(), 0.0);
  for (int step = slider->value(); step <= 500; step += 5) slider->setValue(step);  // -1 .. 3: 500 is 1
  EXPECT_EQ(box->value(), 1.0);
  ASSERT_TRUE(eventually([&] { return space().changed() == nullptr && !space().busy(); }))
      << "scale 1 is the plain model";
  QTest::keyClick(window.get(), Qt::Key_Z, Qt::ControlModifier);
  EXPECT_EQ(box->value(), 0.0) << "the whole drag is undone";
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr; }));

  auto* enabled = find<QCheckBox>("enabled");
  enabled->click();
  ASSERT_TRUE(eventually([&] { return space().changed() == nullptr; }));
  EXPECT_FALSE(space().project().interventions[0].enabled);
}

TEST_F(WindowTest, TheMapZoomsMovesAndReadsCells) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  click_head({0, 0});  // previous token
  MapView& view = *window->map().view();
  ASSERT_TRUE(eventually([&] {
    view.grab();
    return view.is_complete() && view.value_at(10, 9) > 0.9f;
  }));
  EXPECT_TRUE(std::isnan(view.value_at(9, 10)));
  EXPECT_EQ(view.badge(), QStringLiteral("exact"));
  QTest::mouseClick(&view, Qt::LeftButton, {}, view.rect_of(10, 9).center().toPoint());
  EXPECT_EQ(space().selection().query, 10);
  EXPECT_EQ(space().selection().key, 9);
  EXPECT_TRUE(find<QLabel>("cell_text")->text().contains(QStringLiteral("query 10")));
  ASSERT_TRUE(eventually([&] { return space().lines().row.has_value(); }));
  EXPECT_GT(space().lines().row->attn[9], 0.9f);

  const QPointF at = view.rect_of(10, 9).center();
  const double before = view.pixels_per_token();
  QWheelEvent wheel(at, view.mapToGlobal(at), {}, {0, 240}, Qt::NoButton, {}, Qt::NoScrollPhase, false);
  QApplication::sendEvent(&view, &wheel);
  EXPECT_GT(view.pixels_per_token(), before);
  EXPECT_NEAR((view.rect_of(10, 9).center() - at).manhattanLength(), 0.0, 2.0) << "the cell stays under the pointer";
  QTest::keyClick(&view, Qt::Key_Down);
  EXPECT_EQ(space().selection().query, 11);
  QTest::keyClick(&view, Qt::Key_0);
  EXPECT_NEAR(view.pixels_per_token(), before, 1e-9);
  QTest::keyClick(&view, Qt::Key_Escape);
  EXPECT_FALSE(space().selection().query.has_value());
}

TEST_F(WindowTest, BeforeAfterAndChangeShowTheirSides) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  space().add_intervention("zero-tuning", {});
  auto project = space().project();
  project.interventions[0].params["gamma"] = 0.0;
  space().change(QStringLiteral("gamma"), std::move(project));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr && !space().busy(); }));
  const HeadId sink{0, 2};
  click_head(sink);
  MapView& view = *window->map().view();
  const auto shows = [&](float expected) {
    return eventually([&] {
      view.grab();
      return view.is_complete() && std::abs(view.value_at(20, 0) - expected) < 0.1f;
    });
  };
  QTest::keyClick(window.get(), Qt::Key_1, Qt::ControlModifier);
  EXPECT_TRUE(shows(1.0f));
  EXPECT_GT(grid().value_of(sink), 0.9f);
  QTest::keyClick(window.get(), Qt::Key_2, Qt::ControlModifier);
  EXPECT_TRUE(shows(0.0f));
  QTest::keyClick(window.get(), Qt::Key_3, Qt::ControlModifier);
  EXPECT_TRUE(shows(-1.0f));
  EXPECT_LT(grid().value_of(sink), -0.8f);
}

TEST_F(WindowTest, HeadsAreReachedByKeysAndFilteredByExpressions) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  click_head({0, 0});
  QTest::keyClick(&grid(), Qt::Key_Right);
  QTest::keyClick(&grid(), Qt::Key_Right);
  QTest::keyClick(&grid(), Qt::Key_Down);
  EXPECT_EQ(space().selection().head, (HeadId{1, 2}));
  QTest::keyClick(&grid(), Qt::Key_Space);
  EXPECT_EQ(space().project().head_set, (std::vector<HeadId>{{1, 2}}));
  auto* filter = find<QLineEdit>("filter");
  QTest::keyClicks(filter, QStringLiteral("received0>0.9"));
  EXPECT_TRUE(space().passes_filter({0, 2}));
  EXPECT_FALSE(space().passes_filter({0, 0}));
  filter->setText(QStringLiteral("recieved0>0.9"));
  EXPECT_FALSE(space().set_filter(filter->text()).isEmpty()) << "a misspelt statistic is said";
}

TEST_F(WindowTest, FindingsLeadToTheirHeads) {
  FindingsPanel& panel = window->findings();
  EXPECT_TRUE(panel.state_text().contains(QStringLiteral("Run a prompt")));
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  EXPECT_TRUE(panel.cards().empty()) << "nothing is computed behind a hidden dock";
  window->show_dock(QStringLiteral("dock.findings"));
  ASSERT_TRUE(eventually([&] { return !panel.cards().empty(); }));
  const auto card = std::find_if(panel.cards().begin(), panel.cards().end(), [](FindingCard* one) {
    return one->finding().rule == "previous-token-heads" && !one->finding().nothing_found;
  });
  ASSERT_NE(card, panel.cards().end());
  click_head({1, 3});
  QTest::mouseClick(*card, Qt::LeftButton, {}, QPoint(20, 12));
  EXPECT_EQ(space().selection().head, (HeadId{0, 0}));
  EXPECT_EQ(space().metric(), "off1");

  window->show_dock(QStringLiteral("dock.inspector"));
  choose_in_menu({1, 0}, QStringLiteral("Ablate"));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr; }));
  EXPECT_TRUE(panel.state_text().contains(QStringLiteral("not of what is shown"))) << panel.state_text().toStdString();
  panel.start();
  EXPECT_TRUE(panel.busy());
  panel.cancel();
  EXPECT_FALSE(panel.busy());
  space().new_project();
  EXPECT_TRUE(panel.cards().empty());
}

TEST_F(WindowTest, TheDashboardFollowsAndLeadsTheSelection) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  window->show_dock(QStringLiteral("dock.dashboard"));
  DashboardPanel& panel = window->dashboard();
  ASSERT_TRUE(eventually([&] { return panel.curves()->isVisible(); }));
  panel.set_measure(1);
  EXPECT_NEAR(panel.grid()->value_of({0, 1}), space().base()->statistic("entropy", {0, 1}) / std::log(2.0), 1e-6);
  EXPECT_EQ(panel.curves()->figure().series.size(), 3u);
  click_head({0, 4});
  QTest::mouseClick(panel.curves(), Qt::LeftButton, {}, panel.curves()->point_of(1).toPoint());
  EXPECT_EQ(space().selection().head, (HeadId{1, 4}));
  QTest::mouseClick(panel.grid(), Qt::LeftButton, {}, panel.grid()->cell_of({1, 7}).center().toPoint());
  EXPECT_EQ(space().selection().head, (HeadId{1, 7}));
  ASSERT_GT(panel.sinks()->rowCount(), 0);
  const QRect first = panel.sinks()->visualItemRect(panel.sinks()->item(0, 1));
  QTest::mouseClick(panel.sinks()->viewport(), Qt::LeftButton, {}, first.center());
  EXPECT_EQ(space().selection().key, 0) << "the first token is the sink";
  EXPECT_GT(space().base()->statistic("received0", *space().selection().head), 0.9f);

  space().add_intervention("zero-tuning", {});
  auto project = space().project();
  project.interventions[0].params["gamma"] = 0.0;
  space().change(QStringLiteral("gamma"), std::move(project));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr && !space().busy(); }));
  EXPECT_EQ(panel.curves()->figure().series.size(), 2u);
  EXPECT_FALSE(panel.sinks()->isColumnHidden(3));
  space().set_side(MapSide::difference);
  EXPECT_EQ(panel.curves()->figure().series.size(), 1u);
}

TEST_F(WindowTest, APinnedRunIsComparedWithTheNext) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  const auto* pinned = space().base();
  window->show_dock(QStringLiteral("dock.comparison"));
  ComparisonPanel& panel = window->comparison();
  EXPECT_TRUE(panel.state_text().contains(QStringLiteral("Pin what is shown")));
  QTest::mouseClick(find<QPushButton>("pin"), Qt::LeftButton);
  ASSERT_TRUE(space().comparing());
  EXPECT_EQ(space().base(), pinned);
  EXPECT_EQ(space().prediction()->next.kl, 0.0);
  EXPECT_EQ(space().side_name(MapSide::difference), QStringLiteral("A \u2212 B"));
  ASSERT_TRUE(eventually([&] { return panel.comparison() && !panel.busy(); }));
  EXPECT_FALSE(panel.comparison()->departure) << "a run against itself";

  space().add_intervention("zero-tuning", {});
  auto project = space().project();
  project.interventions[0].params["gamma"] = 0.0;
  space().change(QStringLiteral("gamma"), std::move(project));
  ASSERT_TRUE(eventually([&] { return space().changed() != space().base() && !space().busy() && !panel.busy(); }));
  EXPECT_EQ(space().base(), pinned) << "B stays";
  EXPECT_GT(space().prediction()->next.kl, 0.0);
  ASSERT_TRUE(eventually([&] { return panel.comparison() && panel.comparison()->departure.has_value(); }));
  const auto& farthest = panel.comparison()->heads.front();
  QTest::mouseClick(panel.table()->viewport(), Qt::LeftButton, {},
                    panel.table()->visualItemRect(panel.table()->item(0, 0)).center());
  EXPECT_EQ(space().side(), MapSide::difference);
  EXPECT_EQ(space().selection().head, (HeadId{farthest.layer, farthest.head}));
  click_head({0, 2});  // the sink: A does not look at the first token
  MapView& view = *window->map().view();
  ASSERT_TRUE(eventually([&] {
    view.grab();
    return view.is_complete() && view.value_at(20, 0) < -0.9f;
  })) << "A - B";
  EXPECT_LT(grid().value_of({0, 2}), -0.8f);

  find<QPlainTextEdit>("prompt")->setPlainText(QStringLiteral("0 2 3 4 5 6 7 8 9 10 11 12"));  // another text
  QTest::keyClick(window.get(), Qt::Key_Return, Qt::ControlModifier);
  ASSERT_TRUE(eventually([&] { return !space().busy() && !space().same_text(); }));
  EXPECT_TRUE(panel.state_text().contains(QStringLiteral("tokens: 12 / 24"))) << panel.state_text().toStdString();
  space().set_side(MapSide::changed);
  ASSERT_TRUE(eventually([&] {
    view.grab();
    return view.is_complete();
  }));
  EXPECT_TRUE(std::isnan(view.value_at(11, 12)));

  QTest::mouseClick(find<QPushButton>("end_comparison"), Qt::LeftButton);
  EXPECT_FALSE(space().comparing());
  EXPECT_EQ(space().side_name(MapSide::base), QStringLiteral("Before"));
  EXPECT_EQ(space().base()->num_tokens(), 12);
}

TEST_F(WindowTest, AProjectComesBackAsItWas) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  choose_in_menu({1, 0}, QStringLiteral("Ablate"));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr && !space().busy(); }));
  const double kl = space().result()->next.kl;
  const QString path = QString::fromStdString((folder / "a.headlight.json").string());
  ASSERT_TRUE(space().save_project(path));
  EXPECT_FALSE(window->isWindowModified());
  space().new_project();
  EXPECT_EQ(space().base(), nullptr);
  window->open_file(path);
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr && !space().busy(); }));
  EXPECT_EQ(space().result()->next.kl, kl);
  EXPECT_FALSE(window->isWindowModified());
  window->open_file(QStringLiteral("/nonexistent/run.h5"));
  ASSERT_TRUE(eventually([&] { return find<MessageBar>("message_bar")->isVisible(); }));
}

TEST_F(WindowTest, ExportedNumbersAreThoseOfTheMap) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  const std::string csv = map_csv_of(shown_side(space()), {0, 0});
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 24 * 25 / 2);
  EXPECT_EQ(csv.substr(0, 27), "layer,head,query,key,value\n");
  const auto figure = map_figure_of(shown_side(space()), {0, 0}, figure::ScaleKind::linear);
  EXPECT_EQ(figure.rows, 24);
  EXPECT_GT(figure.attn_yx[10 * 24 + 9], 0.9f);
}

TEST_F(WindowTest, TheChangeIsExportedToo) {
  ASSERT_NO_FATAL_FAILURE(run_prompt());
  space().add_intervention("zero-tuning", {});
  auto project = space().project();
  project.interventions[0].params["gamma"] = 0.0;
  space().change(QStringLiteral("gamma"), std::move(project));
  ASSERT_TRUE(eventually([&] { return space().changed() != nullptr && !space().busy(); }));
  space().set_side(MapSide::difference);
  const HeadId sink{0, 2};
  const auto shown = shown_side(space());
  const auto figure = map_figure_of(shown, sink, figure::ScaleKind::power);
  EXPECT_EQ(figure.color_map, figure::ColorMap::change);
  EXPECT_LT(figure.attn_yx[20 * 24], -0.9f);
  EXPECT_EQ(*figure.range.low, -*figure.range.high);
  EXPECT_EQ(figure.range.kind, figure::ScaleKind::linear);
  const auto grid = grid_figure_of(shown, "received0");
  EXPECT_NEAR(grid.value_lh[2],
              space().changed()->statistic("received0", sink) - space().base()->statistic("received0", sink), 1e-6);
  EXPECT_EQ(grid.value_label, "change of received0");
  for (const char* name : {"map.png", "map.csv", "grid.svg"}) {
    const std::string path = (folder / name).string();
    space().in_background(QStringLiteral("Writing"), [=] {
      if (path.find("grid") == std::string::npos)
        export_map(path, shown, sink, figure::ScaleKind::linear);
      else
        export_grid(path, shown, "received0");
    });
  }
  space().in_background(QStringLiteral("Writing"), [=] { export_grid("/nonexistent/a.csv", shown, "received0"); });
  ASSERT_TRUE(eventually([&] { return find<MessageBar>("message_bar")->isVisible(); }));
  for (const char* name : {"map.png", "map.csv", "grid.svg"})
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
}

TEST_F(WindowTest, RecordsOfACorpusAreChosen) {
  workbench::ModelHost host((folder / "model").string(), 1);
  auto input = [](int length) {
    RunInput one;
    for (int i = 0; i < length; ++i) one.ids.push_back(i == 0 ? 0 : 2 + (i - 1) % 11);
    return one;
  };
  RunRequest request;
  request.inputs = {input(12), input(20)};
  request.plan =
      capture::plan_of_all_heads(host.info().num_layers, host.info().num_heads, capture::CaptureLevel::replay);
  const std::shared_ptr<const capture::CaptureView> view = host.runner().run(request).capture;
  space().show(std::make_shared<const workbench::CaptureDocument>(view, "", "two"));
  auto* record = find<QSpinBox>("record");
  ASSERT_TRUE(eventually([&] { return record->isVisible(); }));
  EXPECT_EQ(space().base()->num_tokens(), 12);
  record->setValue(1);
  ASSERT_TRUE(eventually([&] { return space().base()->num_tokens() == 20; }));
  EXPECT_EQ(space().selection().record, 1);
  EXPECT_EQ(space().base()->name(), "two, record 1");
  window->show_dock(QStringLiteral("dock.comparison"));
  space().pin();
  record->setValue(0);  // A is another record than B
  ASSERT_TRUE(eventually([&] {
    return space().changed()->num_tokens() == 12 && window->comparison().comparison() && !window->comparison().busy();
  }));
  EXPECT_FALSE(space().same_text());
  EXPECT_EQ(window->comparison().comparison()->sorted_by, "entropy");
}

}  // namespace
}  // namespace headlight::gui
