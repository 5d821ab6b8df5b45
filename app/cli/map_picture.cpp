#include "app/cli/map_picture.h"

#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/map_source.h"
#include "core/formats/tokenizer.h"
#ifdef HEADLIGHT_HAS_FIGURES
#include "app/figure/figure.h"
#endif

namespace headlight::cli {

bool is_picture_path(const std::string& path) {
  return path.ends_with(".png") || path.ends_with(".svg") || path.ends_with(".pdf");
}

#ifdef HEADLIGHT_HAS_FIGURES
namespace {

double parse_end(const std::string& whole, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    throw Error(Errc::invalid_argument, fmt::format("expected lo:hi such as 0:0.5, found '{}'", whole),
                {.file = {}, .field = "--range", .offset = {}, .hint = {}});
  return value;
}

figure::RangeOptions range_of(const MapPictureStyle& style, bool pooled) {
  figure::RangeOptions range;
  if (style.scale == "log") range.kind = figure::ScaleKind::log;
  // Pooled maxima of a long text are small nearly everywhere: the square root keeps them visible.
  if (style.scale == "power" || (style.scale.empty() && pooled)) range.kind = figure::ScaleKind::power;
  if (style.range.empty() || style.range == "robust") return range;
  const auto colon = style.range.find(':');
  if (colon == std::string::npos) parse_end(style.range, "");
  const std::string low = style.range.substr(0, colon), high = style.range.substr(colon + 1);
  if (!low.empty()) range.low = parse_end(style.range, low);
  if (!high.empty()) range.high = parse_end(style.range, high);
  if ((range.low && range.high && *range.low >= *range.high) ||
      (range.kind == figure::ScaleKind::log && range.low && *range.low <= 0))
    throw Error(Errc::invalid_argument,
                fmt::format("expected lo < hi{}, found '{}'",
                            range.kind == figure::ScaleKind::log ? " and lo > 0 for a log scale" : "", style.range),
                {.file = {}, .field = "--range", .offset = {}, .hint = {}});
  return range;
}

figure::PositionAxis axis_of(const char* title, const capture::RecordInfo& record, std::int64_t begin,
                             std::int64_t count, std::int64_t pool) {
  figure::PositionAxis axis{.title = title, .begin = begin, .step = pool};
  if (pool > 1) return axis;
  bool any = false;
  for (std::int64_t t = begin; t < begin + count; ++t) {
    const auto& tokens = record.header.tokens;
    const std::string& piece = t < std::ssize(tokens) ? tokens[static_cast<std::size_t>(t)].piece : std::string();
    any = any || !piece.empty();
    axis.tokens.push_back(formats::display_piece(piece));
  }
  if (!any) axis.tokens.clear();  // given as bare ids: positions say more than blanks
  return axis;
}

std::string note_of(const capture::MapPicture& picture) {
  std::string note;
  if (picture.pool > 1) note = fmt::format("each cell is the maximum of {0} x {0} pairs", picture.pool);
  if (picture.source == capture::MapSource::overview)
    note += std::string(note.empty() ? "" : "; ") + "from the stored block maxima";
  return note;
}

}  // namespace

void write_map_picture(const capture::CaptureView& view, const capture::HeadRef& ref, HeadId head,
                       const capture::TileRange& tile, const MapPictureStyle& style, const std::string& path,
                       ThreadPool& pool, std::stop_token stop) {
  constexpr std::int64_t kMaxCells = 1024;
  const bool pooled = std::max(tile.row_end - tile.row_begin, tile.col_end - tile.col_begin) > kMaxCells;
  const figure::RangeOptions range = range_of(style, pooled);
  capture::MapRequest request;
  request.tile = tile;
  request.max_cells = kMaxCells;
  request.max_flop = std::numeric_limits<double>::infinity();
  const capture::MapPicture picture = capture::read_map(view, ref, request, pool, stop);
  const capture::RecordInfo record = view.record(ref.record);
  const auto& model = view.header().model;

  figure::MapFigure map;
  map.text.title = fmt::format("layer {}, head {}", head.layer, head.head);
  map.text.caption = fmt::format("{}; queries {}-{}, keys {}-{}{}", model.name, picture.tile.row_begin,
                                 picture.tile.row_end - 1, picture.tile.col_begin, picture.tile.col_end - 1,
                                 view.num_records() > 1 ? fmt::format("; record {}", ref.record) : "");
  map.text.note = note_of(picture);
  map.rows = picture.rows;
  map.cols = picture.cols;
  map.attn_yx.assign(picture.attn_yx.begin(), picture.attn_yx.end());
  map.visible_yx.assign(picture.visible_yx.begin(), picture.visible_yx.end());
  map.query = axis_of("query", record, picture.tile.row_begin, picture.rows, picture.pool);
  map.key = axis_of("key", record, picture.tile.col_begin, picture.cols, picture.pool);
  if (picture.pool > 1) map.value_label = "attention (maximum)";
  map.color_map = *figure::color_map_named(style.colormap);
  map.range = range;

  figure::WriteOptions options;
  options.scale = style.zoom;
  options.dark = style.theme == "dark";
  options.overwrite = style.overwrite;
  options.provenance = fmt::format("{}; capture {} ({}); layer {}, head {}", model.name, view.name(), view.uuid(),
                                   head.layer, head.head);
  options.width = style.width;
  figure::write_figure(path, map, options);
}

#else

void write_map_picture(const capture::CaptureView&, const capture::HeadRef&, HeadId, const capture::TileRange&,
                       const MapPictureStyle&, const std::string& path, ThreadPool&, std::stop_token) {
  throw Error(Errc::unsupported, "pictures are not in this build (HEADLIGHT_QT=OFF)",
              {.file = path, .field = {}, .offset = {}, .hint = "write .npy or .csv"});
}

#endif

}  // namespace headlight::cli
