#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <stop_token>
#include <vector>

#include "app/workbench/capture_document.h"

namespace headlight::workbench {

/// What a map shows: the pass without interventions, with them, or changed minus base.
enum class MapSide { base, changed, difference };

/// A square of kTileCells x kTileCells cells of 2^level tokens.
inline constexpr std::int64_t kTileCells = 256;
struct TileKey {
  std::uint64_t revision = 0;  ///< of the data: a new run makes new keys
  HeadId head = {};
  MapSide side = MapSide::base;
  int level = 0;
  std::int64_t row = 0, col = 0;  ///< in tiles
  auto operator<=>(const TileKey&) const = default;
};

/// Tokens of a tile, clipped at `num_tokens`.
capture::TileRange range_of(const TileKey& key, std::int64_t num_tokens);
/// Level at which one tile holds the whole map.
int top_level(std::int64_t num_tokens);
/// Level whose cells are 1 to 2 device pixels where tokens are smaller than that: 2^s <= tokens per pixel < 2^(s+1).
int level_for(double pixels_per_token, std::int64_t num_tokens);

/// Part of a map in token coordinates.
struct TokenRect {
  double left = 0, top = 0, right = 0, bottom = 0;
};

/// Tiles that cover a view: the one that holds the whole map first, then those of the level that suits it, centre
/// first. Tiles above the diagonal are left out where the layer is causal.
std::vector<TileKey> tiles_of_view(const TileKey& like, const TokenRect& view, double pixels_per_token,
                                   std::int64_t num_tokens, bool causal);

using MapTile = capture::MapPicture;

/// changed - base of one head, in the larger cells of both: of blocks, the difference of their maxima.
/// @error invalid_argument  different texts; as CaptureDocument::map()
capture::MapPicture difference_map(const CaptureDocument& base, const CaptureDocument& changed, HeadId head,
                                   const capture::MapRequest& request, ThreadPool& pool, std::stop_token stop = {});

/// Computes a tile. @param changed  null unless side is changed or difference
/// @error as CaptureDocument::map()
MapTile read_tile(const TileKey& key, const CaptureDocument& base, const CaptureDocument* changed, ThreadPool& pool,
                  std::stop_token stop = {});

/// Tiles that were used last, within a number of bytes.
class TileCache {
 public:
  explicit TileCache(std::size_t max_bytes = std::size_t{256} << 20) : max_bytes_(max_bytes) {}
  std::shared_ptr<const MapTile> find(const TileKey& key);
  void put(const TileKey& key, std::shared_ptr<const MapTile> tile);
  void clear();
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::shared_ptr<const MapTile> tile;
    std::list<TileKey>::iterator use;
  };
  std::size_t max_bytes_, bytes_ = 0;
  std::map<TileKey, Entry> tiles_;
  std::list<TileKey> uses_;  // last used first
};

}  // namespace headlight::workbench
