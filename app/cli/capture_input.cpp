#include "app/cli/capture_input.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::cli {

void add_capture_options(CLI::App& app, CaptureInputOptions& options) {
  app.add_option("CAPTURE", options.path, "Capture file (.h5)")->required();
  app.add_option("--record", options.record, "Record of a corpus")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
      ->type_name("R")
      ->capture_default_str();
  app.add_flag("--allow-incomplete", options.allow_incomplete, "Accept an interrupted or recovered capture");
}

std::unique_ptr<capture::CaptureView> open_capture_input(const CaptureInputOptions& options) {
  auto view =
      capture::open_capture(options.path, {.allow_incomplete = options.allow_incomplete, .check_manifest = false});
  if (options.record >= view->num_records())
    throw Error(Errc::invalid_argument,
                fmt::format("expected a record within 0-{}, found {}", view->num_records() - 1, options.record),
                {.file = {}, .field = "--record", .offset = {}, .hint = {}});
  return view;
}

heads::Headplan load_headplan_for(const capture::ModelInfo& model, const std::string& path) {
  heads::Headplan plan = heads::load_headplan(path);
  const heads::HeadGrid& grid = plan.model.grid;
  if (grid.num_layers != model.num_layers || grid.num_heads != model.num_heads)
    throw Error(Errc::invalid_argument,
                fmt::format("is of a model with {} layers of {} heads, the capture of one with {} layers of {}",
                            grid.num_layers, grid.num_heads, model.num_layers, model.num_heads),
                {.file = path, .field = {}, .offset = {}, .hint = {}});
  return plan;
}

int recorded_index(const capture::CaptureView& view, int model_layer) {
  const auto& layers = view.header().plan.layers;
  const auto it = std::find(layers.begin(), layers.end(), model_layer);
  if (it == layers.end())
    throw Error(Errc::invalid_argument,
                fmt::format("layer {} is not in the capture; recorded layers: {}", model_layer, compact_list(layers)),
                {.file = view.name(), .field = {}, .offset = {}, .hint = {}});
  return static_cast<int>(it - layers.begin());
}

std::string compact_list(const std::vector<int>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", numbers[i]);
    if (last > i) text += fmt::format("-{}", numbers[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace headlight::cli
