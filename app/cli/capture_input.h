#pragma once

#include <memory>
#include <string>

#include "app/cli/head_selection.h"
#include "app/cli/invocation.h"
#include "core/capture/capture_view.h"
#include "core/heads/headplan.h"

namespace headlight::cli {

/// Options of every verb that reads a capture.
struct CaptureInputOptions {
  std::string path;
  std::int64_t record = 0;
  bool allow_incomplete = false;
};
void add_capture_options(CLI::App& app, CaptureInputOptions& options);

/// Opens and checks that the record exists. @error as capture::open_capture(), invalid_argument
std::unique_ptr<capture::CaptureView> open_capture_input(const CaptureInputOptions& options);

/// A headplan whose layers and heads are those of the model.
/// @error as heads::load_headplan(), invalid_argument when it is of another model
heads::Headplan load_headplan_for(const capture::ModelInfo& model, const std::string& path);

/// Index of a model layer among the recorded ones. @error invalid_argument naming the recorded layers
int recorded_index(const capture::CaptureView& view, int model_layer);

/// "0-29" or "3,17": compact text of ascending numbers.
std::string compact_list(const std::vector<int>& numbers);

}  // namespace headlight::cli
