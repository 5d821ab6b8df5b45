#include "app/workbench/map_tiles.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace headlight::workbench {
namespace {

std::int64_t tokens_of_tile(int level) {
  return kTileCells << level;
}

std::size_t bytes_of(const MapTile& tile) {
  return tile.attn_yx.size() * sizeof(float) + tile.visible_yx.size();
}

capture::MapRequest request_of(const TileKey& key, std::int64_t num_tokens) {
  capture::MapRequest request;
  request.tile = range_of(key, num_tokens);
  const std::int64_t longest =
      std::max(request.tile.row_end - request.tile.row_begin, request.tile.col_end - request.tile.col_begin);
  const std::int64_t cell = std::int64_t{1} << key.level;
  request.max_cells = (longest + cell - 1) / cell;
  return request;
}

/// The same part of another document in cells of the same size, or in larger ones where it holds only those.
MapTile tile_like(const MapTile& like, HeadId head, const CaptureDocument& document, ThreadPool& pool,
                  const std::stop_token& stop) {
  capture::MapRequest request;
  request.tile = like.tile;
  request.max_cells = std::max(like.rows, like.cols);
  return document.map(head, request, pool, stop);
}

}  // namespace

capture::TileRange range_of(const TileKey& key, std::int64_t num_tokens) {
  const std::int64_t edge = tokens_of_tile(key.level);
  return {key.row * edge, std::min((key.row + 1) * edge, num_tokens), key.col * edge,
          std::min((key.col + 1) * edge, num_tokens)};
}

int top_level(std::int64_t num_tokens) {
  int level = 0;
  while (tokens_of_tile(level) < num_tokens) ++level;
  return level;
}

int level_for(double pixels_per_token, std::int64_t num_tokens) {
  const int level = static_cast<int>(std::floor(-std::log2(std::max(pixels_per_token, 1e-9)) + 1e-9));
  return std::clamp(level, 0, top_level(num_tokens));
}

std::vector<TileKey> tiles_of_view(const TileKey& like, const TokenRect& view, double pixels_per_token,
                                   std::int64_t num_tokens, bool causal) {
  std::vector<TileKey> keys;
  if (num_tokens <= 0) return keys;
  TileKey whole = like;
  whole.level = top_level(num_tokens);
  whole.row = whole.col = 0;
  keys.push_back(whole);
  const int level = level_for(pixels_per_token, num_tokens);
  if (level == whole.level) return keys;

  const std::int64_t edge = tokens_of_tile(level), last = (num_tokens - 1) / edge;
  const auto tile_at = [&](double token) {
    return std::clamp(static_cast<std::int64_t>(std::floor(token)) / edge, std::int64_t{0}, last);
  };
  const std::size_t first = keys.size();
  for (std::int64_t row = tile_at(view.top); row <= tile_at(view.bottom); ++row)
    for (std::int64_t col = tile_at(view.left); col <= tile_at(view.right); ++col) {
      if (causal && col > row) continue;
      TileKey key = like;
      key.level = level;
      key.row = row;
      key.col = col;
      keys.push_back(key);
    }
  const auto distance = [&](const TileKey& key) {
    const auto half = static_cast<double>(edge) / 2;
    const double y = static_cast<double>(key.row * edge) + half - (view.top + view.bottom) / 2;
    const double x = static_cast<double>(key.col * edge) + half - (view.left + view.right) / 2;
    return x * x + y * y;
  };
  std::stable_sort(keys.begin() + static_cast<std::ptrdiff_t>(first), keys.end(),
                   [&](const TileKey& a, const TileKey& b) { return distance(a) < distance(b); });
  return keys;
}

capture::MapPicture difference_map(const CaptureDocument& base, const CaptureDocument& changed, HeadId head,
                                   const capture::MapRequest& request, ThreadPool& pool, std::stop_token stop) {
  if (!same_tokens(base, changed))
    throw Error(Errc::invalid_argument, "the two sides are of different texts: their maps cannot be subtracted");
  MapTile after = changed.map(head, request, pool, stop);
  const MapTile before = tile_like(after, head, base, pool, stop);
  if (before.pool > after.pool) after = tile_like(before, head, changed, pool, stop);
  if (before.pool != after.pool || before.attn_yx.size() != after.attn_yx.size())
    throw Error(Errc::invalid_argument, "the two sides hold this map in blocks of different sizes");
  for (std::size_t at = 0; at < after.attn_yx.size(); ++at) after.attn_yx[at] -= before.attn_yx[at];
  return after;
}

MapTile read_tile(const TileKey& key, const CaptureDocument& base, const CaptureDocument* changed, ThreadPool& pool,
                  std::stop_token stop) {
  HEADLIGHT_CHECK(key.side == MapSide::base || changed != nullptr);
  if (key.side == MapSide::difference)
    return difference_map(base, *changed, key.head, request_of(key, changed->num_tokens()), pool, stop);
  const CaptureDocument& shown = key.side == MapSide::changed ? *changed : base;
  return shown.map(key.head, request_of(key, shown.num_tokens()), pool, std::move(stop));
}

std::shared_ptr<const MapTile> TileCache::find(const TileKey& key) {
  const auto found = tiles_.find(key);
  if (found == tiles_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, found->second.use);
  return found->second.tile;
}

void TileCache::put(const TileKey& key, std::shared_ptr<const MapTile> tile) {
  if (find(key)) return;
  bytes_ += bytes_of(*tile);
  uses_.push_front(key);
  tiles_.emplace(key, Entry{std::move(tile), uses_.begin()});
  while (bytes_ > max_bytes_ && uses_.size() > 1) {
    const auto last = tiles_.find(uses_.back());
    bytes_ -= bytes_of(*last->second.tile);
    tiles_.erase(last);
    uses_.pop_back();
  }
}

void TileCache::clear() {
  tiles_.clear();
  uses_.clear();
  bytes_ = 0;
}

}  // namespace headlight::workbench
