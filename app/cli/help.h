#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/cli/invocation.h"

namespace headlight::cli {

/// Help in our order: one sentence, usage, examples, then the options in groups; fits 80 columns.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

/// The examples block of a verb's help.
std::string examples_text(const Verb& verb);

std::vector<std::string> verb_names();
std::vector<std::string> option_names(const CLI::App& verb);  ///< long options of a verb, with dashes
bool has_option(const CLI::App& verb, const std::string& name);

/// `headlight __complete WORD...`: candidates for the last word, one per line. Used by the completion scripts.
int print_completions(int argc, char** argv);

}  // namespace headlight::cli
