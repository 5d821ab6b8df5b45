#pragma once

#include <QObject>
#include <QString>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "app/workbench/capture_document.h"
#include "app/workbench/history.h"
#include "app/workbench/job_queue.h"
#include "app/workbench/live_session.h"
#include "app/workbench/map_tiles.h"
#include "app/workbench/prediction.h"
#include "app/workbench/project.h"
#include "app/workbench/selection_lines.h"

namespace headlight::gui {

using heads::HeadId;
using workbench::MapSide;

/// State of one window: a thin Qt face of app/workbench that tells views what changed. Views call it and follow its
/// signals; they never address each other.
class Workspace final : public QObject {
  Q_OBJECT

 public:
  explicit Workspace(QObject* parent = nullptr);
  ~Workspace() override;

  // The document of the window.
  const workbench::Project& project() const { return project_; }
  const workbench::History& history() const { return history_; }
  void change(const QString& label, workbench::Project next, const std::string& merge_key = {});
  void seal() { history_.seal(); }
  void undo();
  void redo();
  void open_project(const QString& path);
  bool save_project(const QString& path);
  const QString& project_path() const { return project_path_; }
  void new_project();
  /// The model of an empty project: no change that could be undone.
  void begin_with_model(const std::string& name);

  /// A capture, a project or an intervention file, told apart by content. Failures arrive as failed().
  void open_file(const QString& path);
  /// Runs the project's prompt with its model: loads the model first where it is not there.
  void run();
  void stop();
  bool busy() const { return busy_; }
  /// Work that nobody waits for, writing a file: an error arrives as failed().
  void in_background(const QString& title, std::function<void()> work);
  /// A capture that is already there.
  void show(std::shared_ptr<const workbench::CaptureDocument> document);
  /// Another record of the open capture.
  void open_record(std::int64_t record);
  /// Tokens of a prompt; nullopt before a model is loaded, or when it cannot be tokenised.
  std::optional<int> count_tokens(const workbench::PromptText& text) const;
  /// Loads a model so that tokens can be counted; nothing is run.
  void load_model();
  const workbench::ModelHost* model() const { return model_.get(); }

  // What is shown: one or two sides. The run before and after the stack, or, in a comparison, B and A: A is the run
  // (after the stack) or capture of the window, B is another one. The difference is changed - base: After - Before, A -
  // B.
  const workbench::CaptureDocument* base() const { return base_.get(); }
  const workbench::CaptureDocument* changed() const { return changed_.get(); }  ///< null: there is one side
  /// Base, or the changed side where that is shown; null without a capture.
  const workbench::CaptureDocument* shown() const { return shown_document().get(); }
  std::shared_ptr<const workbench::CaptureDocument> base_document() const { return base_; }
  std::shared_ptr<const workbench::CaptureDocument> changed_document() const { return changed_; }
  std::shared_ptr<const workbench::CaptureDocument> shown_document() const {
    return side() == MapSide::changed ? changed_ : base_;
  }
  const workbench::LiveResult* result() const { return result_ ? &*result_ : nullptr; }
  /// Of both sides; null where no logits are known.
  const workbench::Prediction* prediction() const { return prediction_ ? &*prediction_ : nullptr; }
  MapSide side() const { return changed_ ? side_ : MapSide::base; }
  void set_side(MapSide side);
  std::array<MapSide, 3> sides() const;          ///< in the order of buttons
  QString side_name(MapSide side) const;         ///< "Before", "After", "Change"; "A", "B", "A \u2212 B"
  QString side_word(MapSide side) const;         ///< the same inside a sentence: "before", "A"
  bool same_text() const { return same_text_; }  ///< the sides are of the same tokens, or there is one

  // Comparison.
  bool comparing() const { return other_ != nullptr; }
  std::shared_ptr<const workbench::CaptureDocument> document_a() const {
    return run_changed_ ? run_changed_ : run_base_;
  }
  std::shared_ptr<const workbench::CaptureDocument> document_b() const { return other_; }
  void pin();  ///< what is shown becomes B, and stays when another prompt is run or another capture opened
  void open_other(const QString& path);  ///< a capture file becomes B
  void end_comparison();

  const workbench::Selection& selection() const { return selection_; }
  void select(const workbench::Selection& selection);
  void select_head(HeadId head);
  void select_cell(std::optional<std::int64_t> query, std::optional<std::int64_t> key);

  const std::string& metric() const { return metric_; }  ///< statistic of the head grid
  void set_metric(const std::string& id);
  /// Heads that match the filter, [L][H] of the model; empty = all.
  const heads::HeadMask& filter() const { return filter_; }
  const QString& filter_text() const { return filter_text_; }
  /// @return empty, or what is wrong with the expression
  QString set_filter(const QString& expression);
  bool passes_filter(HeadId head) const;

  // Interventions.
  void add_intervention(const std::string& method, std::vector<HeadId> heads);
  /// Adds a head-scale of these heads, or sets the scale of the one that has exactly them.
  void scale_heads(const std::vector<HeadId>& heads, double scale);
  void toggle_in_set(HeadId head);

  // Tiles of maps.
  workbench::TileKey tile_key() const;  ///< of the selected head and side
  std::shared_ptr<const workbench::MapTile> tile(const workbench::TileKey& key) { return tiles_.find(key); }
  /// Computes the first of these that is not there yet; the view asks again when mapChanged() comes.
  void request_tiles(const std::vector<workbench::TileKey>& keys);
  const QString& map_error() const { return map_error_; }

  /// Row, column and received attention of the selection; empty until linesChanged().
  const workbench::SelectionLines& lines() const { return lines_; }

 Q_SIGNALS:
  void projectChanged();  ///< project, history or path
  void modelChanged();
  void captureChanged();  ///< base or changed side
  void selectionChanged();
  void sideChanged();
  void metricChanged();
  void filterChanged();
  void mapChanged();  ///< a tile arrived, or could not be computed
  void linesChanged();
  void busyChanged();
  void statusChanged(const QString& text, double share);  ///< share < 0: unknown; empty text: idle
  void failed(const QString& text, const QString& hint);
  void fileOpened(const QString& path);

 private:
  void post(workbench::JobQueue::Delivery delivery);
  void follow_history();
  void submit_run(bool prompt_changed);
  void show_result(workbench::LiveResult result, std::shared_ptr<const workbench::CaptureDocument> base,
                   std::shared_ptr<const workbench::CaptureDocument> changed);
  void show_capture(std::shared_ptr<const workbench::CaptureDocument> base,
                    std::shared_ptr<const workbench::CaptureDocument> changed);
  void compare_with(std::shared_ptr<const workbench::CaptureDocument> other);
  void show_sides();
  void keep_inside(workbench::Selection& selection) const;  ///< drops tokens that the shown side does not have
  void open_capture(const QString& path);
  void request_lines();
  void set_busy(bool busy);
  void report(const Error& error);

  workbench::History history_;
  workbench::Project project_;
  QString project_path_;

  std::shared_ptr<workbench::ModelHost> model_;
  std::shared_ptr<workbench::LiveSession> live_;
  std::string ran_prompt_;  // what the shown run is of: model and prompt

  std::shared_ptr<const workbench::CaptureDocument> run_base_, run_changed_, other_;
  std::shared_ptr<const workbench::CaptureDocument> base_, changed_;  // of those, what views show
  std::optional<workbench::Prediction> prediction_;
  bool same_text_ = true;
  std::optional<workbench::LiveResult> result_;
  workbench::Selection selection_;
  MapSide side_ = MapSide::changed;
  std::string metric_ = "received0";
  heads::HeadMask filter_;
  QString filter_text_;
  bool busy_ = false;

  std::uint64_t revision_ = 0;
  workbench::TileCache tiles_;
  std::set<workbench::TileKey> failed_tiles_;
  QString map_error_;
  workbench::SelectionLines lines_;
  ThreadPool map_pool_;  // used by the thread of maps_ only

  // Last: their threads use what is above.
  std::unique_ptr<workbench::JobQueue> runs_, maps_;
};

}  // namespace headlight::gui
