#include "core/capture/map_source.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/derive.h"

namespace headlight::capture {
namespace {

using kernels::KeyRange;

std::int64_t div_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

KeyRange part(std::int64_t begin, std::int64_t end, std::int64_t step, std::int64_t index) {
  return {begin + index * step, std::min(begin + (index + 1) * step, end)};
}

// Dense maps are stored of the heads the plan chooses.
bool head_chosen(const CaptureView& view, const HeadRef& head) {
  const CaptureHeader& header = view.header();
  const auto at = static_cast<std::size_t>(head.layer) * static_cast<std::size_t>(header.model.num_heads) +
                  static_cast<std::size_t>(head.head);
  return head.head >= 0 && head.head < header.model.num_heads && at < header.plan.heads_lh.size() &&
         header.plan.heads_lh[at] != 0;
}

MapPicture empty_picture(MapSource source, const TileRange& tile, std::int64_t pool, const LayerGeometry& geometry) {
  MapPicture picture;
  picture.source = source;
  picture.tile = tile;
  picture.pool = pool;
  picture.rows = div_up(tile.row_end - tile.row_begin, pool);
  picture.cols = div_up(tile.col_end - tile.col_begin, pool);
  picture.visible_yx = Buffer<std::uint8_t>(static_cast<std::size_t>(picture.rows * picture.cols), std::uint8_t{0});
  for (std::int64_t y = 0; y < picture.rows; ++y) {
    const KeyRange rows = part(tile.row_begin, tile.row_end, pool, y);
    const KeyRange keys = geometry.visible_to_rows(rows.begin, rows.end);
    for (std::int64_t x = 0; x < picture.cols; ++x) {
      const KeyRange columns = part(tile.col_begin, tile.col_end, pool, x);
      const bool seen = std::max(keys.begin, columns.begin) < std::min(keys.end, columns.end);
      picture.visible_yx[static_cast<std::size_t>(y * picture.cols + x)] = seen ? 1 : 0;
    }
  }
  return picture;
}

void read_dense(const CaptureView& view, const HeadRef& head, const LayerGeometry& geometry, Pooling pooling,
                MapPicture& picture) {
  const Buffer<float> map_ij = view.dense(head.record, head.layer, head.head);
  const TileRange& tile = picture.tile;
  picture.attn_yx = Buffer<float>(picture.visible_yx.size(), 0.0f);
  for (std::int64_t y = 0; y < picture.rows; ++y)
    for (std::int64_t x = 0; x < picture.cols; ++x) {
      const KeyRange rows = part(tile.row_begin, tile.row_end, picture.pool, y);
      const KeyRange columns = part(tile.col_begin, tile.col_end, picture.pool, x);
      double sum = 0.0;
      float largest = 0.0f;
      for (std::int64_t i = rows.begin; i < rows.end; ++i)
        for (std::int64_t j = columns.begin; j < columns.end; ++j) {
          const float attn = map_ij[static_cast<std::size_t>(i * geometry.num_rows + j)];
          largest = std::max(largest, attn);
          sum += attn;
        }
      const auto pairs = static_cast<double>(std::max<std::int64_t>(1, geometry.visible_pairs(rows, columns)));
      picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)] =
          pooling == Pooling::max ? largest : static_cast<float>(sum / pairs);
    }
}

// Cells of `pool` = several block edges, from the stored maxima or sums.
void read_blocks(const CaptureView& view, const HeadRef& head, const RecordInfo& info, const LayerGeometry& geometry,
                 Pooling pooling, MapPicture& picture) {
  const Buffer<float> block = pooling == Pooling::max ? view.block_max(head.record, head.layer, head.head)
                                                      : view.block_sum(head.record, head.layer, head.head);
  const TileRange& tile = picture.tile;
  const std::int64_t edge = info.block_edge, count = info.block_count;
  picture.attn_yx = Buffer<float>(picture.visible_yx.size(), 0.0f);
  for (std::int64_t bi = tile.row_begin / edge; bi < div_up(tile.row_end, edge); ++bi)
    for (std::int64_t bj = tile.col_begin / edge; bj < div_up(tile.col_end, edge); ++bj) {
      const std::int64_t y = (bi * edge - tile.row_begin) / picture.pool;
      const std::int64_t x = (bj * edge - tile.col_begin) / picture.pool;
      float& cell = picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)];
      const float value = block[static_cast<std::size_t>(bi * count + bj)];
      cell = pooling == Pooling::max ? std::max(cell, value) : cell + value;
    }
  if (pooling == Pooling::max) return;
  for (std::int64_t y = 0; y < picture.rows; ++y)
    for (std::int64_t x = 0; x < picture.cols; ++x) {
      const std::int64_t pairs = geometry.visible_pairs(part(tile.row_begin, tile.row_end, picture.pool, y),
                                                        part(tile.col_begin, tile.col_end, picture.pool, x));
      picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)] /=
          static_cast<float>(std::max<std::int64_t>(1, pairs));
    }
}

// As many evenly spaced rows of each cell as the budget allows, the last row of the cell always among them.
void read_samples(const CaptureView& view, const HeadRef& head, const MapRequest& request, double flop,
                  ThreadPool& pool, const std::stop_token& stop, MapPicture& picture) {
  const TileRange& tile = picture.tile;
  const auto affordable = static_cast<std::int64_t>(static_cast<double>(picture.pool) * request.max_flop / flop);
  const std::int64_t per_cell = std::clamp<std::int64_t>(affordable, 1, picture.pool);
  picture.sampled_share = static_cast<double>(per_cell) / static_cast<double>(picture.pool);
  picture.attn_yx = Buffer<float>(picture.visible_yx.size(), 0.0f);
  for (std::int64_t y = 0; y < picture.rows; ++y) {
    const KeyRange rows = part(tile.row_begin, tile.row_end, picture.pool, y);
    const std::int64_t samples = std::min(per_cell, rows.size());
    for (std::int64_t n = 0; n < samples; ++n) {
      const std::int64_t row = rows.begin + (n + 1) * rows.size() / samples - 1;
      const Buffer<float> row_x = replay_pooled(view, head, {row, row + 1, tile.col_begin, tile.col_end}, 1,
                                                picture.pool, request.pooling, pool, stop);
      for (std::int64_t x = 0; x < picture.cols; ++x) {
        float& cell = picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)];
        const float value = row_x[static_cast<std::size_t>(x)];
        cell = request.pooling == Pooling::max ? std::max(cell, value) : cell + value / static_cast<float>(samples);
      }
    }
  }
}

// Smallest pool that keeps both sides within max_cells.
std::int64_t pool_for(const TileRange& tile, std::int64_t max_cells) {
  const std::int64_t longest = std::max(tile.row_end - tile.row_begin, tile.col_end - tile.col_begin);
  return std::max<std::int64_t>(1, div_up(longest, std::max<std::int64_t>(1, max_cells)));
}

TileRange widened(const TileRange& tile, std::int64_t edge, std::int64_t num_rows) {
  const auto up = [&](std::int64_t end) { return std::min(num_rows, div_up(end, edge) * edge); };
  return {tile.row_begin / edge * edge, up(tile.row_end), tile.col_begin / edge * edge, up(tile.col_end)};
}

}  // namespace

std::string_view to_string(MapSource source) {
  switch (source) {
    case MapSource::dense:
      return "dense";
    case MapSource::replay:
      return "replay";
    case MapSource::overview:
      return "overview";
    case MapSource::sampled:
      return "sampled";
  }
  return "replay";
}

double replay_flop(const CaptureView& view, const HeadRef& head, const TileRange& tile) {
  const LayerGeometry geometry = layer_geometry(view.record(head.record), head.layer);
  return 2.0 * view.header().model.head_dim *
         static_cast<double>(geometry.visible_pairs({tile.row_begin, tile.row_end}, {tile.col_begin, tile.col_end}));
}

MapSource choose_map_source(const CaptureView& view, const HeadRef& head, const MapRequest& request) {
  const RecordInfo info = view.record(head.record);
  if (info.has_dense && !head.base && head_chosen(view, head)) return MapSource::dense;
  const bool replayable = info.has_replay && view.head_recorded(head.record, head.layer, head.head) &&
                          request.tile.row_begin >= info.replay_row_begin &&
                          request.tile.row_end <= info.replay_row_end;
  if (replayable && replay_flop(view, head, request.tile) <= request.max_flop) return MapSource::replay;
  if (info.has_overview && !head.base) return MapSource::overview;
  if (replayable) return MapSource::sampled;
  throw Error(
      Errc::invalid_argument,
      fmt::format("no map of layer {} head {}, rows {}:{} can be made: the capture (level {}) holds neither its "
                  "map, nor queries and keys for these rows, nor an overview",
                  info.header.layers.at(static_cast<std::size_t>(head.layer)).layer, head.head, request.tile.row_begin,
                  request.tile.row_end, to_string(view.header().plan.level)));
}

MapPicture read_map(const CaptureView& view, const HeadRef& head, const MapRequest& request, ThreadPool& pool,
                    std::stop_token stop) {
  const RecordInfo info = view.record(head.record);
  const LayerGeometry geometry = layer_geometry(info, head.layer);
  TileRange tile = request.tile;
  if (tile.row_begin < 0 || tile.row_begin >= tile.row_end || tile.row_end > info.num_rows || tile.col_begin < 0 ||
      tile.col_begin >= tile.col_end || tile.col_end > info.num_rows)
    throw Error(Errc::invalid_argument,
                fmt::format("rows {}:{}, columns {}:{} select nothing of the capture's {} rows and columns",
                            tile.row_begin, tile.row_end, tile.col_begin, tile.col_end, info.num_rows));
  const MapSource source = choose_map_source(view, head, request);
  std::int64_t edge = pool_for(tile, request.max_cells);
  if (source == MapSource::overview) {
    tile = widened(tile, info.block_edge, info.num_rows);
    edge = info.block_edge * pool_for({tile.row_begin / info.block_edge, div_up(tile.row_end, info.block_edge),
                                       tile.col_begin / info.block_edge, div_up(tile.col_end, info.block_edge)},
                                      request.max_cells);
  }
  MapPicture picture = empty_picture(source, tile, edge, geometry);
  switch (source) {
    case MapSource::dense:
      read_dense(view, head, geometry, request.pooling, picture);
      break;
    case MapSource::overview:
      read_blocks(view, head, info, geometry, request.pooling, picture);
      break;
    case MapSource::replay:
      picture.attn_yx = replay_pooled(view, head, tile, edge, edge, request.pooling, pool, stop);
      break;
    case MapSource::sampled:
      read_samples(view, head, request, replay_flop(view, head, tile), pool, stop, picture);
      break;
  }
  return picture;
}

}  // namespace headlight::capture
