#include "gui/view_export.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "base/error.h"

namespace headlight::gui {
namespace {

figure::PositionAxis axis_of(const char* title, const workbench::CaptureDocument& document, std::int64_t cells,
                             std::int64_t pool) {
  figure::PositionAxis axis{.title = title, .begin = 0, .step = pool};
  if (pool == 1) axis.tokens.assign(document.token_texts().begin(), document.token_texts().begin() + cells);
  return axis;
}

capture::MapPicture picture_of(const workbench::CaptureDocument& document, HeadId head, std::int64_t most_cells) {
  ThreadPool pool(1);
  const std::int64_t all = document.num_tokens();
  return document.map(
      head, {.tile = {0, all, 0, all}, .max_cells = most_cells, .max_flop = std::numeric_limits<double>::infinity()},
      pool);
}

}  // namespace

figure::MapFigure map_figure_of(const workbench::CaptureDocument& document, HeadId head, figure::ScaleKind kind) {
  const capture::MapPicture picture = picture_of(document, head, 1024);
  figure::MapFigure figure;
  figure.text.title = "layer " + std::to_string(head.layer) + ", head " + std::to_string(head.head);
  figure.text.caption = document.header().model.name + "; " + document.name();
  if (picture.pool > 1)
    figure.text.note =
        "each cell is the maximum of " + std::to_string(picture.pool) + " x " + std::to_string(picture.pool) + " pairs";
  figure.rows = picture.rows;
  figure.cols = picture.cols;
  figure.attn_yx.assign(picture.attn_yx.begin(), picture.attn_yx.end());
  figure.visible_yx.assign(picture.visible_yx.begin(), picture.visible_yx.end());
  figure.query = axis_of("query", document, picture.rows, picture.pool);
  figure.key = axis_of("key", document, picture.cols, picture.pool);
  figure.range.kind = kind;
  return figure;
}

figure::GridFigure grid_figure_of(const workbench::CaptureDocument& document, const std::string& metric) {
  const auto* statistic = document.find_statistic(metric);
  if (statistic == nullptr) throw Error(Errc::invalid_argument, "the capture does not hold " + metric);
  figure::GridFigure figure;
  figure.text.title = std::string(statistic->info->long_name);
  figure.text.caption = document.header().model.name + "; " + document.name();
  figure.rows = static_cast<std::int64_t>(document.layers().size());
  figure.cols = document.num_heads();
  figure.value_lh = statistic->value_lh;
  figure.layers = document.layers();
  figure.heads_per_group = document.num_heads() / std::max(1, document.num_kv_heads());
  figure.value_label =
      statistic->info->unit == "1" ? std::string(statistic->info->id) : std::string(statistic->info->unit);
  return figure;
}

std::string map_csv_of(const workbench::CaptureDocument& document, HeadId head) {
  const capture::MapPicture picture = picture_of(document, head, document.num_tokens());
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

std::string grid_csv_of(const workbench::CaptureDocument& document, const std::string& metric) {
  const auto* statistic = document.find_statistic(metric);
  if (statistic == nullptr) throw Error(Errc::invalid_argument, "the capture does not hold " + metric);
  std::ostringstream text;
  text << "layer,head," << metric << '\n';
  const auto heads = static_cast<std::size_t>(document.num_heads());
  for (std::size_t at = 0; at < statistic->value_lh.size(); ++at)
    text << document.layers()[at / heads] << ',' << at % heads << ',' << statistic->value_lh[at] << '\n';
  return text.str();
}

}  // namespace headlight::gui
