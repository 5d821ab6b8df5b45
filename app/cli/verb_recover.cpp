#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/invocation.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::cli {
namespace {

struct RecoverOptions {
  std::string part, output;
  bool force = false;
};

void recover(Invocation& invocation, const RecoverOptions& options) {
  check_not_input(options.output, {options.part});
  const auto report = capture::recover_capture(options.part, options.output, options.force);
  if (invocation.json) {
    print_json(invocation, {options.part},
               {{"output", options.output},
                {"num_records", report.num_records},
                {"rows_recovered", report.rows_recovered},
                {"losses", report.losses}});
    return;
  }
  std::string text = fmt::format("{}: {} rows in {} records recovered, marked partial\n", options.output,
                                 report.rows_recovered, report.num_records);
  for (const auto& loss : report.losses) text += "lost: " + loss + "\n";
  print_text(text);
}

struct MergeOptions {
  std::vector<std::string> inputs;
  std::string output;
  bool force = false;
};

void merge(Invocation& invocation, const MergeOptions& options) {
  capture::merge_captures({options.inputs.begin(), options.inputs.end()}, options.output, options.force);
  if (invocation.json)
    print_json(invocation, options.inputs, {{"output", options.output}, {"num_inputs", options.inputs.size()}});
  else
    print_text(fmt::format("{}: merged {} captures\n", options.output, options.inputs.size()));
}

}  // namespace

Verb recover_verb() {
  return {.name = "recover",
          .summary = "Make a readable capture of an interrupted .part file",
          .examples = {"headlight recover .capture.h5.0123456789abcdef.part -o recovered.h5"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<RecoverOptions>();
            app.add_option("PART", options->part, "The .part file")->required();
            app.add_option("-o,--out", options->output, "Recovered capture")->required()->type_name("FILE.h5");
            app.add_flag("--force", options->force, "Overwrite the output");
            return [=](Invocation& invocation) { recover(invocation, *options); };
          }};
}

Verb merge_verb() {
  return {.name = "merge",
          .summary = "Join the captures of a split batch",
          .examples = {"headlight merge part0.h5 part1.h5 -o all.h5"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<MergeOptions>();
            app.add_option("CAPTURES", options->inputs, "Captures of the same model and plan")
                ->required()
                ->expected(1, 1 << 16);
            app.add_option("-o,--out", options->output, "Merged capture")->required()->type_name("FILE.h5");
            app.add_flag("--force", options->force, "Overwrite the output");
            return [=](Invocation& invocation) { merge(invocation, *options); };
          }};
}

}  // namespace headlight::cli
