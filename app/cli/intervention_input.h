#pragma once

#include <optional>

#include "app/cli/model_input.h"
#include "core/intervention/contrast.h"
#include "core/intervention/intervention.h"

namespace headlight::cli {

/// Declares --intervention for a verb that can run with interventions.
void add_intervention_option(CLI::App& app, ModelOptions& options);

/// The stack of all --intervention files in the order given.
/// @error not_found, bad_format, invalid_argument (an id that occurs twice)
intervention::Stack load_interventions(const ModelOptions& options);

/// The same; texts of spans are looked up in the prompt. @error also invalid_argument (a text that is not there)
intervention::Stack read_interventions(const ModelOptions& options, const capture::RecordHeader& prompt);

/// A stack, and the branches of a procedure where one of the files is one.
struct Changes {
  intervention::Stack interventions;
  std::optional<intervention::Contrast> contrast;
};
/// As read_interventions(), which refuses procedures: they need a verb that runs several sequences.
Changes read_changes(const ModelOptions& options, const capture::RecordHeader& prompt);

/// What a method takes and does, for `info --methods`.
Json method_list();
/// An intervention file in words, for `info FILE`.
Json intervention_info(const Json& document, const std::string& path);

}  // namespace headlight::cli
