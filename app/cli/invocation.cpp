#include "app/cli/invocation.h"

#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

namespace headlight::cli {

void Invocation::warn(const std::string& text) {
  warnings.push_back(text);
  if (!quiet) log_warning(text);
}

std::string_view version() {
  return HEADLIGHT_VERSION;
}

void print_text(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(Errc::io, "standard output cannot be written");
}

void print_json(Invocation& invocation, const std::vector<std::string>& inputs, Json result) {
  Json document;
  document["schema"] = "headlight." + invocation.verb + "/1";
  document["tool"] = {{"name", "headlight"}, {"version", version()}};
  document["inputs"] = inputs;
  document["result"] = std::move(result);
  document["warnings"] = invocation.warnings;
  invocation.document_printed = true;
  print_text(dump_json(document) + "\n");
}

void check_not_input(const std::string& output, const std::vector<std::string>& inputs) {
  std::error_code ignored;
  for (const auto& input : inputs)
    if (!output.empty() && !input.empty() && std::filesystem::equivalent(output, input, ignored))
      throw Error(Errc::invalid_argument, fmt::format("is an input of this run: '{}'", input),
                  {.file = output, .field = {}, .offset = {}, .hint = "choose another output"});
}

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = {
      info_verb(),    tokenize_verb(), generate_verb(),   logits_verb(),    capture_verb(), map_verb(),
      stats_verb(),   verify_verb(),   recover_verb(),    merge_verb(),     compare_verb(), analyze_verb(),
      report_verb(),  roles_verb(),    eval_verb(),       calibrate_verb(), models_verb(),  doctor_verb(),
      plugins_verb(), bench_verb(),    completion_verb(), version_verb(),
  };
  return all;
}

}  // namespace headlight::cli
