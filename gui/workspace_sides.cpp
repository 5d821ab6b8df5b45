// The one or two sides that views show, and comparison with another run or capture.

#include "app/workbench/comparison.h"
#include "base/error.h"
#include "gui/workspace.h"

namespace headlight::gui {
namespace {

/// The head whose largest weights lie most on tokens other than the first and the query itself: sinks, diagonals and
/// even attention say least to begin with.
std::optional<HeadId> first_head(const workbench::CaptureDocument& document) {
  if (document.layers().empty()) return std::nullopt;
  HeadId best{document.layers().front(), 0};
  float most = -2.0f;
  for (const int layer : document.layers())
    for (int head = 0; head < document.num_heads(); ++head) {
      const HeadId id{layer, head};
      const float telling =
          document.statistic("pmax", id) - document.statistic("received0", id) - document.statistic("off0", id);
      if (telling > most && document.has_map(id)) {
        most = telling;
        best = id;
      }
    }
  return best;
}

}  // namespace

void Workspace::show_sides() {
  maps_->cancel_all();
  const std::string problem = other_ ? workbench::comparison_problem(*document_a(), *other_) : std::string();
  if (!problem.empty()) other_.reset();
  base_ = other_ ? other_ : run_base_;
  changed_ = other_ ? document_a() : run_changed_;
  same_text_ = !changed_ || changed_ == base_ || workbench::same_tokens(*base_, *changed_);
  prediction_.reset();
  if (result_ && !other_)
    prediction_ = workbench::prediction_of(*result_);
  else if (base_)
    prediction_ = workbench::predict(*base_, changed_.get(), model_.get());
  ++revision_;
  failed_tiles_.clear();
  map_error_.clear();
  if (!base_) {
    selection_ = {};
    tiles_.clear();
  } else {
    if (!selection_.head || !base_->find(*selection_.head)) selection_.head = first_head(*base_);
    keep_inside(selection_);
    if (base_->find_statistic(metric_) == nullptr && !base_->statistics().empty())
      metric_ = base_->statistics().front().info->id;
  }
  set_filter(filter_text_);
  Q_EMIT captureChanged();
  Q_EMIT selectionChanged();
  if (!problem.empty()) Q_EMIT failed(tr("The comparison ended."), QString::fromStdString(problem));
}

void Workspace::keep_inside(workbench::Selection& selection) const {
  const std::int64_t tokens = base_ ? shown()->num_tokens() : 0;
  for (auto* at : {&selection.query, &selection.key})
    if (*at && (**at < 0 || **at >= tokens)) at->reset();
}

void Workspace::set_side(MapSide side) {
  if (side == side_) return;
  side_ = side;
  workbench::Selection kept = selection_;
  keep_inside(kept);
  Q_EMIT sideChanged();
  if (!(kept == selection_)) select(kept);
}

std::array<MapSide, 3> Workspace::sides() const {
  if (comparing()) return {MapSide::changed, MapSide::base, MapSide::difference};
  return {MapSide::base, MapSide::changed, MapSide::difference};
}

QString Workspace::side_name(MapSide side) const {
  switch (side) {
    case MapSide::base:
      return comparing() ? tr("B") : tr("Before");
    case MapSide::changed:
      return comparing() ? tr("A") : tr("After");
    case MapSide::difference:
      return comparing() ? tr("A \u2212 B") : tr("Change");
  }
  return {};
}

QString Workspace::side_word(MapSide side) const {
  return comparing() ? side_name(side) : side_name(side).toLower();
}

// ---- comparison ----

void Workspace::compare_with(std::shared_ptr<const workbench::CaptureDocument> other) {
  other_ = std::move(other);
  side_ = MapSide::changed;
  show_sides();
  Q_EMIT sideChanged();
}

void Workspace::pin() {
  if (!base_) return;
  compare_with(comparing() ? document_a() : shown_document());
}

void Workspace::end_comparison() {
  if (other_) compare_with(nullptr);
}

void Workspace::open_other(const QString& path) {
  if (!run_base_) return open_file(path);  // nothing to compare with: it becomes A
  runs_->submit(
      "other", tr("Opening %1").arg(path.section(QLatin1Char('/'), -1)).toStdString(),
      [this, file = path.toStdString()](workbench::JobContext&) -> workbench::JobQueue::Delivery {
        auto document = workbench::CaptureDocument::open(file);
        return [this, document = std::move(document)] { compare_with(document); };
      },
      [this](const Error& error) { report(error); });
}

}  // namespace headlight::gui
