#include "core/capture/replay_head.h"

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::capture {
namespace {

void check_tile(const RecordInfo& info, const TileRange& tile) {
  if (tile.row_begin < 0 || tile.row_begin > tile.row_end || tile.row_end > info.num_rows || tile.col_begin < 0 ||
      tile.col_begin > tile.col_end || tile.col_end > info.num_rows)
    throw Error(Errc::invalid_argument,
                fmt::format("rows {}:{}, columns {}:{} are outside the capture's {} rows and columns", tile.row_begin,
                            tile.row_end, tile.col_begin, tile.col_end, info.num_rows));
  if (tile.row_begin < tile.row_end && (tile.row_begin < info.replay_row_begin || tile.row_end > info.replay_row_end))
    throw Error(Errc::invalid_argument,
                fmt::format("rows {}:{} are not recorded for replay, only {}:{}", tile.row_begin, tile.row_end,
                            info.replay_row_begin, info.replay_row_end));
}

}  // namespace

ReplayHead open_replay_head(const CaptureView& view, const HeadRef& ref, const TileRange& tile, bool with_lse) {
  const RecordInfo info = view.record(ref.record);
  const LayerGeometry geometry = layer_geometry(info, ref.layer);
  const ModelInfo& model = view.header().model;
  const LayerParameters& parameters = info.header.layers[static_cast<std::size_t>(ref.layer)];
  if (!info.has_replay)
    throw Error(Errc::invalid_argument,
                fmt::format("the capture holds no queries and keys: its level is {}, replay needs level replay",
                            to_string(view.header().plan.level)));
  if (!view.head_recorded(ref.record, ref.layer, ref.head))
    throw Error(Errc::invalid_argument,
                fmt::format("layer {} head {} is not recorded for replay", parameters.layer, ref.head));
  check_tile(info, tile);
  const auto kv_head = static_cast<int>(static_cast<std::int64_t>(ref.head) * model.num_kv_heads / model.num_heads);
  ReplayHead head{view, ref,     parameters, geometry, kv_head, model.head_dim, info.header.num_prompt_tokens,
                  {},   nullptr, {}};
  if (!ref.base) head.row_plan = view.row_plan(ref.record, ref.layer);
  if (with_lse) {
    head.lse_hi = view.statistic(ref.record, ref.base && info.header.rows_changed ? "lse_base" : "lse", ref.layer);
    head.lse_i = head.lse_hi.data() + ref.head * info.num_rows;
  }
  return head;
}

void check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(Errc::cancelled, "replay was cancelled");
}

}  // namespace headlight::capture
