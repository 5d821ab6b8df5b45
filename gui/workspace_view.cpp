// Selection, filter, interventions and tiles; workspace.cpp has documents and runs.

#include <algorithm>

#include "app/workbench/method_form.h"
#include "base/error.h"
#include "gui/workspace.h"

namespace headlight::gui {
namespace {

QString as_qstring(const std::string& text) {
  return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

}  // namespace

void Workspace::select(const workbench::Selection& selection) {
  workbench::Selection next = selection;
  keep_inside(next);
  if (next == selection_) return;
  selection_ = next;
  map_error_.clear();
  Q_EMIT selectionChanged();
}

void Workspace::select_head(HeadId head) {
  workbench::Selection next = selection_;
  next.head = head;
  select(next);
}

void Workspace::select_cell(std::optional<std::int64_t> query, std::optional<std::int64_t> key) {
  workbench::Selection next = selection_;
  next.query = query;
  next.key = key;
  select(next);
}

void Workspace::set_metric(const std::string& id) {
  if (id == metric_) return;
  metric_ = id;
  Q_EMIT metricChanged();
}

QString Workspace::set_filter(const QString& expression) {
  QString problem;
  heads::HeadMask mask;
  if (!expression.trimmed().isEmpty() && base_) {
    try {
      mask = base_->select(expression.toStdString());
    } catch (const Error& error) {
      problem = as_qstring(error.what());
    }
  }
  filter_text_ = expression;
  if (problem.isEmpty() && mask != filter_) {
    filter_ = std::move(mask);
    Q_EMIT filterChanged();
  }
  return problem;
}

bool Workspace::passes_filter(HeadId head) const {
  return filter_.empty() || !base_ || filter_[base_->grid().index(head)] != 0;
}

// ---- interventions ----

void Workspace::add_intervention(const std::string& method, std::vector<HeadId> heads) {
  workbench::Project next = project_;
  intervention::Intervention made = workbench::new_intervention(method, next.interventions, std::move(heads));
  if (selection_.key)
    for (const auto& entry : workbench::method_entries())
      if (entry.id == method && entry.needs_spans) made.inputs.spans = {{*selection_.key, *selection_.key + 1, {}}};
  next.interventions.push_back(std::move(made));
  change(tr("Add %1").arg(as_qstring(method)), std::move(next));
}

void Workspace::scale_heads(const std::vector<HeadId>& heads, double scale) {
  workbench::Project next = project_;
  const auto same = std::find_if(next.interventions.begin(), next.interventions.end(), [&](const auto& entry) {
    return entry.method == "head-scale" && entry.scope.heads == heads;
  });
  if (same == next.interventions.end()) {
    next.interventions.push_back(workbench::new_intervention("head-scale", next.interventions, heads));
    next.interventions.back().params["scale"] = scale;
  } else {
    same->enabled = true;
    same->params["scale"] = scale;
  }
  const QString what = heads.size() == 1 ? as_qstring(heads::to_string(heads[0])) : tr("%1 heads").arg(heads.size());
  change(scale == 0.0 ? tr("Ablate %1").arg(what) : tr("Scale %1").arg(what), std::move(next));
}

void Workspace::toggle_in_set(HeadId head) {
  workbench::Project next = project_;
  const auto at = std::lower_bound(next.head_set.begin(), next.head_set.end(), head);
  const bool there = at != next.head_set.end() && *at == head;
  if (there)
    next.head_set.erase(at);
  else
    next.head_set.insert(at, head);
  const QString id = as_qstring(heads::to_string(head));
  change(there ? tr("Remove %1 from the set").arg(id) : tr("Add %1 to the set").arg(id), std::move(next));
}

// ---- tiles ----

workbench::TileKey Workspace::tile_key() const {
  return {.revision = revision_,
          .head = selection_.head.value_or(HeadId{}),
          .side = side(),
          .level = 0,
          .row = 0,
          .col = 0};
}

void Workspace::request_tiles(const std::vector<workbench::TileKey>& keys) {
  const auto wanted = std::find_if(keys.begin(), keys.end(), [&](const workbench::TileKey& key) {
    return !tiles_.find(key) && !failed_tiles_.contains(key);
  });
  if (wanted == keys.end() || !base_) return;
  maps_->submit(
      "tile", "Map",
      [this, key = *wanted, base = base_,
       changed = changed_](workbench::JobContext& context) -> workbench::JobQueue::Delivery {
        try {
          auto tile = std::make_shared<const workbench::MapTile>(
              workbench::read_tile(key, *base, changed.get(), map_pool_, context.stop()));
          return [this, key, tile = std::move(tile)] {
            tiles_.put(key, tile);
            Q_EMIT mapChanged();
          };
        } catch (const Error& error) {
          if (error.code() == Errc::cancelled) throw;
          return [this, key, text = as_qstring(error.what())] {
            failed_tiles_.insert(key);
            map_error_ = text;
            Q_EMIT mapChanged();
          };
        }
      },
      {}, workbench::JobQueue::Replaces::queued);
}

void Workspace::request_lines() {
  if (!base_) {
    lines_ = {};
    Q_EMIT linesChanged();
    return;
  }
  maps_->submit("lines", "Lines",
                [this, selection = selection_, shown = side(), base = base_,
                 changed = changed_](workbench::JobContext&) -> workbench::JobQueue::Delivery {
                  auto lines = workbench::lines_of(selection, shown, *base, changed.get(), map_pool_);
                  return [this, lines = std::move(lines)] {
                    lines_ = lines;
                    Q_EMIT linesChanged();
                  };
                });
}

}  // namespace headlight::gui
