#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace CLI {
class App;
}

namespace headlight::cli {

/// What every verb gets besides its own options: how to talk, and whether to stop.
struct Invocation {
  std::string verb;
  std::string command_line;  ///< as typed, for provenance
  bool json = false;         ///< exactly one JSON document on stdout
  bool quiet = false;        ///< no progress, no notes on stderr
  bool verbose = false;
  std::string progress = "auto";     ///< auto, bar, lines, json, none
  std::stop_token stop;              ///< first Ctrl-C or SIGTERM
  std::vector<std::string> plugins;  ///< shared libraries to load before the verb runs
  std::vector<std::string> warnings;
  bool document_printed = false;  ///< a failure after the result adds no second document

  /// A note for the person: stderr now, and the `warnings` array of --json.
  void warn(const std::string& text);
};

using Action = std::function<void(Invocation&)>;

/// One word of the command line. Everything about it is written down once: help, completion and dispatch read this.
struct Verb {
  std::string name;
  std::string summary;                      ///< one sentence
  std::vector<std::string> examples;        ///< runnable command lines
  bool reads_capture = false;               ///< works in a child process: a damaged file cannot take the parent down
  std::function<Action(CLI::App&)> define;  ///< declares the options, returns what to do
};

/// All verbs, in the order of the help page.
const std::vector<Verb>& verbs();

/// Prints {"schema":"headlight.<verb>/1","tool":...,"inputs":...,"result":...,"warnings":...} to stdout.
void print_json(Invocation& invocation, const std::vector<std::string>& inputs, Json result);

/// Writes text to stdout. @error io
void print_text(std::string_view text);

/// Throws invalid_argument when the output is one of the inputs, also through a link: --force would replace it.
void check_not_input(const std::string& output, const std::vector<std::string>& inputs);

/// Version of this build: "0.1.0".
std::string_view version();

// One maker per verb, each in verb_<name>.cpp.
Verb info_verb();
Verb tokenize_verb();
Verb generate_verb();
Verb logits_verb();
Verb capture_verb();
Verb map_verb();
Verb stats_verb();
Verb verify_verb();
Verb recover_verb();
Verb merge_verb();
Verb compare_verb();
Verb analyze_verb();
Verb report_verb();
Verb roles_verb();
Verb eval_verb();
Verb calibrate_verb();
Verb models_verb();
Verb doctor_verb();
Verb plugins_verb();
Verb bench_verb();
Verb completion_verb();
Verb version_verb();

}  // namespace headlight::cli
