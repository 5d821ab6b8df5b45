#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/map_picture.h"
#include "app/cli/npy.h"
#include "app/cli/option_checks.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "base/file.h"
#include "core/capture/replay.h"
#include "core/capture/statistics.h"

namespace headlight::cli {
namespace {

constexpr std::int64_t kMaxCells = std::int64_t{1} << 30;

struct MapOptions {
  CaptureInputOptions capture;
  std::string head, rows, cols, output;
  int layer = -1, threads = 0;
  MapPictureStyle style;
  bool force = false, base = false;
};

void write_csv(const std::string& path, bool overwrite, HeadId head, const capture::TileRange& tile,
               std::span<const float> values) {
  OutputFile file(path, overwrite);
  std::string text = "layer,head,query,key,value\n";
  const std::int64_t cols = tile.col_end - tile.col_begin;
  for (std::int64_t i = tile.row_begin; i < tile.row_end; ++i) {
    for (std::int64_t j = tile.col_begin; j < tile.col_end; ++j)
      text += fmt::format("{},{},{},{},{}\n", head.layer, head.head, i, j,
                          values[static_cast<std::size_t>((i - tile.row_begin) * cols + j - tile.col_begin)]);
    file.write(text);
    text.clear();
  }
  file.write(text);
  file.commit();
}

void map(Invocation& invocation, const MapOptions& options) {
  const bool picture = is_picture_path(options.output);
  if (!picture && !options.output.ends_with(".npy") && !options.output.ends_with(".csv"))
    throw Error(Errc::invalid_argument,
                fmt::format("expected a file ending in .npy, .csv, .png, .svg or .pdf, found '{}'", options.output),
                {.file = {}, .field = "--out", .offset = {}, .hint = {}});
  check_output_path(options.output, options.force);
  check_not_input(options.output, {options.capture.path});
  const auto view = open_capture_input(options.capture);
  const std::string head_text = options.layer >= 0 ? fmt::format("{}.{}", options.layer, options.head) : options.head;
  const HeadId head = heads::parse_one_head(head_text, capture_head_facts(*view), "--head");
  const capture::HeadRef ref{options.capture.record, recorded_index(*view, head.layer), head.head, options.base};
  const auto record = view->record(options.capture.record);
  capture::TileRange tile;
  std::tie(tile.row_begin, tile.row_end) = parse_slice("--rows", options.rows, record.num_rows);
  std::tie(tile.col_begin, tile.col_end) = parse_slice("--cols", options.cols, record.num_rows);
  const std::int64_t rows = tile.row_end - tile.row_begin, cols = tile.col_end - tile.col_begin;

  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::available_threads());
  if (picture) {
    write_map_picture(*view, ref, head, tile, options.style, options.output, pool, invocation.stop);
  } else {
    if (rows > kMaxCells / cols)
      throw Error(Errc::invalid_argument,
                  fmt::format("{} x {} cells are more than {} can be written", rows, cols, kMaxCells),
                  {.file = {}, .field = "--rows", .offset = {}, .hint = "choose fewer --rows or --cols, or a picture"});
    Buffer<float> values(static_cast<std::size_t>(rows * cols));
    capture::replay_tile(*view, ref, tile, pool, values, invocation.stop);
    if (options.output.ends_with(".npy"))
      write_npy(options.output, values, {rows, cols}, options.force);
    else
      write_csv(options.output, options.force, head, tile, values);
  }
  if (invocation.json)
    print_json(invocation, {options.capture.path},
               {{"output", options.output},
                {"layer", head.layer},
                {"head", head.head},
                {"rows", {tile.row_begin, tile.row_end}},
                {"cols", {tile.col_begin, tile.col_end}}});
  else
    print_text(fmt::format("{}: {}, rows {}:{}, keys {}:{}\n", options.output,
                           capture::head_name(head.layer, head.head), tile.row_begin, tile.row_end, tile.col_begin,
                           tile.col_end));
}

}  // namespace

Verb map_verb() {
  return {.name = "map",
          .summary = "Exact attention of one head: numbers or a picture",
          .examples = {"headlight map capture.h5 --head 3.7 -o map.png",
                       "headlight map capture.h5 --head L3H7 --rows -64: -o tail.npy",
                       "headlight map capture.h5 --head 0.0 --scale log --theme dark -o map.svg"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<MapOptions>();
            add_capture_options(app, options->capture);
            app.add_option("--head", options->head, "One head: 3.7, L3H7, 'top(received0,1)', or H with --layer L")
                ->required()
                ->type_name("HEAD");
            app.add_option("--layer", options->layer, "Layer, when --head is a number")
                ->check(CLI::Range(0, 1023))
                ->type_name("L");
            app.add_option("--rows", options->rows, "Query rows a:b, negatives from the end")->type_name("RANGE");
            app.add_option("--cols", options->cols, "Keys a:b")->type_name("RANGE");
            app.add_flag("--base", options->base,
                         "The map of the same q and k without the interventions of the capture");
            app.add_option("-o,--out", options->output, ".npy float32, .csv, .png, .svg or .pdf")
                ->required()
                ->type_name("FILE");
            app.add_option("--threads", options->threads, "CPU threads; 0 = all")
                ->check(CLI::Range(0, 1024))
                ->type_name("N")
                ->capture_default_str();
            app.add_flag("--force", options->force, "Overwrite the output");
            const char* group = "Picture";
            app.add_option("--colormap", options->style.colormap, "Colours")
                ->check(CLI::IsMember({"viridis", "cividis", "magma", "grey"}))
                ->capture_default_str()
                ->group(group);
            app.add_option("--scale", options->style.scale, "Value axis; default linear, pooled maps power")
                ->check(CLI::IsMember({"linear", "log", "power"}))
                ->group(group);
            app.add_option("--range", options->style.range, "Colour range lo:hi; default robust")
                ->type_name("RANGE")
                ->group(group);
            app.add_option("--theme", options->style.theme, "Background")
                ->check(CLI::IsMember({"light", "dark"}))
                ->capture_default_str()
                ->group(group);
            app.add_option("--size", options->style.width, "Width in pixels before --zoom; default what suits the map")
                ->check(CLI::Range(200, 8000))
                ->type_name("PX")
                ->group(group);
            app.add_option("--zoom", options->style.zoom, "Pixels per unit (2 = high DPI)")
                ->check(number_within(0.5, 8.0))
                ->type_name("Z")
                ->capture_default_str()
                ->group(group);
            return [=](Invocation& invocation) mutable {
              options->style.overwrite = options->force;
              map(invocation, *options);
            };
          }};
}

}  // namespace headlight::cli
