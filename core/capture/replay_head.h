#pragma once

#include <stop_token>

#include "base/buffer.h"
#include "core/capture/derive.h"
#include "core/capture/replay.h"

namespace headlight::capture {

/// What replay needs of a head beside q and k.
struct ReplayHead {
  const CaptureView& view;
  HeadRef ref;
  LayerParameters parameters;
  LayerGeometry geometry;
  int kv_head = 0, head_dim = 0;
  std::int64_t num_prompt_tokens = 0;
  Buffer<float> lse_hi;          ///< empty unless asked for
  const float* lse_i = nullptr;  ///< row of this head in lse_hi
  RowPlan row_plan;              ///< empty where the base map is wanted

  /// What interventions do to its rows; null = nothing.
  const kernels::RowProgram* program() const { return row_plan.program(ref.head); }
};

/// @error invalid_argument  no q and k, head or rows not recorded, tile outside the capture
ReplayHead open_replay_head(const CaptureView& view, const HeadRef& ref, const TileRange& tile, bool with_lse);

/// Dot products of a row with the keys it sees to attention, in place, with what interventions did to the row. A fully
/// masked row becomes 0.
/// @param keys   all keys the row sees, where interventions changed it; else any of them
/// @param row_j  row_j[0] = key keys.begin
void finish_row(const ReplayHead& head, std::int64_t row, kernels::KeyRange keys, float* row_j);

/// @error cancelled
void check_stop(const std::stop_token& stop);

}  // namespace headlight::capture
