#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "app/figure/color_map.h"
#include "app/figure/value_scale.h"

namespace headlight::figure {

/// Positions along one side of a figure: cell c stands for tokens [begin + c * step, begin + (c + 1) * step).
struct PositionAxis {
  std::string title;  ///< "key"
  std::int64_t begin = 0, step = 1;
  /// Printable UTF-8 of every cell's token; empty: positions only. Shown where a cell is large enough, else positions.
  std::vector<std::string> tokens = {};
};

/// Words around every figure.
struct FigureText {
  std::string title;         ///< "layer 5, head 3"
  std::string caption = {};  ///< one muted line below: model, range, prompt
  std::string note = {};     ///< one small line at the bottom: "max-pooled 4 x 4"
};

/// Attention of one head as a heat map: row = query, column = key.
struct MapFigure {
  FigureText text;
  std::int64_t rows = 0, cols = 0;
  std::vector<float> attn_yx;                 ///< [rows][cols]; NaN = not recorded
  std::vector<std::uint8_t> visible_yx = {};  ///< [rows][cols], 0 = masked (hatched); empty = all visible
  PositionAxis query{.title = "query"}, key{.title = "key"};
  std::string value_label = "attention";
  ColorMap color_map = ColorMap::viridis;
  /// The robust range leaves out the first `sink_columns` columns and the diagonal (where query and key cells cover the
  /// same tokens): one bright column would otherwise darken everything else.
  RangeOptions range;
  std::int64_t sink_columns = 4;
};

/// One number per head: row = layer, column = head, with means at the right and the bottom.
struct GridFigure {
  FigureText text;
  std::int64_t rows = 0, cols = 0;
  std::vector<float> value_lh;       ///< [rows][cols]; NaN = undefined or not recorded
  std::vector<int> layers = {};      ///< layer number of each row; empty = 0, 1, ...
  std::int64_t heads_per_group = 1;  ///< query heads that share a KV head stand together
  std::string value_label;
  ColorMap color_map = ColorMap::viridis;
  RangeOptions range{.mode = RangeMode::automatic};
  bool means = true;
};

struct LineSeries {
  std::string name;
  std::vector<float> value_x;  ///< NaN = gap
};

/// Values along the text, one line each (at most 7).
struct LineFigure {
  FigureText text;
  std::vector<LineSeries> series;
  PositionAxis x{.title = "position"};
  std::string value_label;
  RangeOptions range{.mode = RangeMode::automatic};
};

struct WriteOptions {
  double width = 0.0;  ///< logical pixels, 100..16000, the height follows; 0 = the size that suits the figure
  double scale = 1.0;  ///< PNG: device pixels per logical pixel, 0.5..8
  bool dark = false;   ///< dark theme
  bool overwrite = false;
  std::string provenance = {};  ///< where the data came from; kept inside the file (text chunk, description)
};

/// Writes a figure as PNG, SVG or PDF, chosen by the suffix. Needs no display. The file appears complete or not at all.
/// @error invalid_argument  another suffix, a scale outside its range, a picture beyond 200 megapixels, a figure whose
///        array does not have its size; output_exists, io
void write_figure(const std::filesystem::path& path, const MapFigure& figure, const WriteOptions& options);
void write_figure(const std::filesystem::path& path, const GridFigure& figure, const WriteOptions& options);
void write_figure(const std::filesystem::path& path, const LineFigure& figure, const WriteOptions& options);

/// A map as SVG for a web page: colours that are not data are CSS variables (page_colors()), so one picture serves a
/// light and a dark page; images come twice, of class on-light and on-dark, and the page shows one. Ids carry `prefix`, so
/// that several stand in one page. `width` as in WriteOptions; the height is what the map needs.
std::string page_svg(const MapFigure& figure, double width, const std::string& prefix);

/// Values of those variables, "--figure-text: #1f2328; ...".
std::string page_colors(bool dark);

/// True for .png, .svg and .pdf.
bool is_figure_path(const std::filesystem::path& path);

}  // namespace headlight::figure
