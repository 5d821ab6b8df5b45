#include "gui/view_export.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace headlight::gui {
namespace {

figure::PositionAxis axis_of(const char* title, const workbench::CaptureDocument& document, std::int64_t cells,
                             std::int64_t pool) {
  figure::PositionAxis axis{.title = title, .begin = 0, .step = pool};
  if (pool == 1) axis.tokens.assign(document.token_texts().begin(), document.token_texts().begin() + cells);
  return axis;
}

capture::MapPicture picture_of(const ShownSide& shown, HeadId head, std::int64_t most_cells) {
  ThreadPool pool(1);
  const std::int64_t all = shown.document().num_tokens();
  const capture::MapRequest request{
      .tile = {0, all, 0, all}, .max_cells = most_cells, .max_flop = std::numeric_limits<double>::infinity()};
  if (shown.side == MapSide::difference)
    return workbench::difference_map(*shown.base, *shown.changed, head, request, pool);
  return shown.document().map(head, request, pool);
}

/// Signed values: as far to one side of zero as to the other.
figure::RangeOptions symmetric_range(const std::vector<float>& values) {
  double largest = 0.0;
  for (const float value : values)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(static_cast<double>(value)));
  if (largest <= 0.0) largest = 1.0;
  return {.mode = figure::RangeMode::automatic, .low = -largest, .high = largest};
}

std::vector<float> values_of_grid(const ShownSide& shown, const std::string& metric) {
  const auto* statistic = shown.document().find_statistic(metric);
  if (statistic == nullptr) throw Error(Errc::invalid_argument, "the capture does not hold " + metric);
  std::vector<float> values = statistic->value_lh;
  if (shown.side != MapSide::difference) return values;
  const auto heads = static_cast<std::size_t>(shown.base->num_heads());
  for (std::size_t at = 0; at < values.size(); ++at)
    values[at] =
        shown.changed->statistic(metric, {shown.base->layers()[at / heads], static_cast<int>(at % heads)}) - values[at];
  return values;
}

figure::WriteOptions write_options(const ShownSide& shown) {
  figure::WriteOptions options;
  options.scale = 2.0;
  options.overwrite = true;  // the dialog has asked
  options.provenance = shown.caption();
  return options;
}

void write_text(const std::string& path, const std::string& text) {
  OutputFile file(path, true);
  file.write(text);
  file.commit();
}

bool is_table(const std::string& path) {
  return path.ends_with(".csv");
}

}  // namespace

std::string ShownSide::caption() const {
  if (side != MapSide::difference) return document().header().model.name + "; " + document().name();
  return document().header().model.name + "; " + difference + ": " + changed->name() + " less " + base->name();
}

ShownSide shown_side(const Workspace& workspace) {
  return {workspace.base_document(), workspace.changed_document(), workspace.side(),
          workspace.side_word(MapSide::difference).toStdString()};
}

figure::MapFigure map_figure_of(const ShownSide& shown, HeadId head, figure::ScaleKind kind) {
  const capture::MapPicture picture = picture_of(shown, head, 1024);
  const bool difference = shown.side == MapSide::difference;
  figure::MapFigure figure;
  figure.text.title = "layer " + std::to_string(head.layer) + ", head " + std::to_string(head.head);
  figure.text.caption = shown.caption();
  const std::string blocks = std::to_string(picture.pool) + " x " + std::to_string(picture.pool) + " pairs";
  if (picture.pool > 1)
    figure.text.note =
        (difference ? "each cell is the difference of the maxima of " : "each cell is the maximum of ") + blocks;
  figure.rows = picture.rows;
  figure.cols = picture.cols;
  figure.attn_yx.assign(picture.attn_yx.begin(), picture.attn_yx.end());
  figure.visible_yx.assign(picture.visible_yx.begin(), picture.visible_yx.end());
  figure.query = axis_of("query", shown.document(), picture.rows, picture.pool);
  figure.key = axis_of("key", shown.document(), picture.cols, picture.pool);
  figure.range.kind = kind;
  if (difference) {
    figure.value_label = shown.difference;
    figure.color_map = figure::ColorMap::change;
    figure.range = symmetric_range(figure.attn_yx);
  }
  return figure;
}

figure::GridFigure grid_figure_of(const ShownSide& shown, const std::string& metric) {
  const auto& document = shown.document();
  figure::GridFigure figure;
  figure.value_lh = values_of_grid(shown, metric);
  const auto& info = *document.find_statistic(metric)->info;
  figure.text.title = std::string(info.long_name);
  figure.text.caption = shown.caption();
  figure.rows = static_cast<std::int64_t>(document.layers().size());
  figure.cols = document.num_heads();
  figure.layers = document.layers();
  figure.heads_per_group = document.num_heads() / std::max(1, document.num_kv_heads());
  figure.value_label = info.unit == "1" ? std::string(info.id) : std::string(info.unit);
  if (shown.side == MapSide::difference) {
    figure.value_label = shown.difference + " of " + figure.value_label;
    figure.color_map = figure::ColorMap::change;
    figure.range = symmetric_range(figure.value_lh);
  }
  return figure;
}

std::string map_csv_of(const ShownSide& shown, HeadId head) {
  const capture::MapPicture picture = picture_of(shown, head, shown.document().num_tokens());
  if (picture.pool > 1)
    throw Error(Errc::unsupported, "only block maxima of this map are recorded: there are no single cells to write");
  std::ostringstream text;
  text << "layer,head,query,key,value\n";
  for (std::int64_t y = 0; y < picture.rows; ++y)
    for (std::int64_t x = 0; x < picture.cols; ++x) {
      const auto at = static_cast<std::size_t>(y * picture.cols + x);
      if (picture.visible_yx[at] != 0)
        text << head.layer << ',' << head.head << ',' << y << ',' << x << ',' << picture.attn_yx[at] << '\n';
    }
  return text.str();
}

std::string grid_csv_of(const ShownSide& shown, const std::string& metric) {
  const std::vector<float> values = values_of_grid(shown, metric);
  std::ostringstream text;
  text << "layer,head," << metric << '\n';
  const auto heads = static_cast<std::size_t>(shown.document().num_heads());
  for (std::size_t at = 0; at < values.size(); ++at)
    text << shown.document().layers()[at / heads] << ',' << at % heads << ',' << values[at] << '\n';
  return text.str();
}

void export_map(const std::string& path, const ShownSide& shown, HeadId head, figure::ScaleKind kind) {
  if (is_table(path)) return write_text(path, map_csv_of(shown, head));
  figure::write_figure(path, map_figure_of(shown, head, kind), write_options(shown));
}

void export_grid(const std::string& path, const ShownSide& shown, const std::string& metric) {
  if (is_table(path)) return write_text(path, grid_csv_of(shown, metric));
  figure::write_figure(path, grid_figure_of(shown, metric), write_options(shown));
}

}  // namespace headlight::gui
