#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"
#include "core/capture/replay.h"

namespace headlight::capture {

/// Where the cells of a map came from.
enum class MapSource {
  dense,     ///< stored map
  replay,    ///< recomputed exactly from q, k and lse
  overview,  ///< stored block maxima and sums: exact maxima and means (up to their stored precision) of coarse blocks
  sampled,   ///< some rows of each cell recomputed exactly, the others left out; shown with the badge "sampled"
};
std::string_view to_string(MapSource source);

struct MapRequest {
  TileRange tile;
  std::int64_t max_cells = 1024;  ///< longer sides are pooled
  Pooling pooling = Pooling::max;
  double max_flop = 2e9;  ///< a dearer replay is served from the overview, else from sampled rows
};

/// A map that fits a picture: one cell = pool x pool pairs, pooled over the visible ones.
struct MapPicture {
  MapSource source = MapSource::replay;
  TileRange tile;         ///< as asked, or widened to the borders of stored blocks
  std::int64_t pool = 1;  ///< edge of a cell in tokens
  std::int64_t rows = 0, cols = 0;
  Buffer<float> attn_yx;            ///< [rows][cols], 0 where nothing is visible
  Buffer<std::uint8_t> visible_yx;  ///< [rows][cols], 1 = some pair of the cell is visible
  double sampled_share = 1.0;       ///< share of the rows that were computed (source sampled)
};

/// Floating-point operations of an exact replay: 2 D per visible pair.
double replay_flop(const CaptureView& view, const HeadRef& head, const TileRange& tile);

/// What read_map() will use: a stored map, else replay within `max_flop`, else the overview, else sampled rows.
/// @error invalid_argument  the capture holds nothing a map of this head could be made of; the sentence says why
MapSource choose_map_source(const CaptureView& view, const HeadRef& head, const MapRequest& request);

/// @error invalid_argument  as choose_map_source(), or a tile outside the capture; cancelled
MapPicture read_map(const CaptureView& view, const HeadRef& head, const MapRequest& request, ThreadPool& pool,
                    std::stop_token stop = {});

}  // namespace headlight::capture
