// The `headlight` command: parses, dispatches to one verb, and turns every failure into one sentence and an exit code.

#include <cstdio>
#include <cstdlib>
#include <new>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/help.h"
#include "app/cli/interrupt.h"
#include "app/cli/invocation.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "base/log.h"
#include "core/capture_hdf5/guard.h"

namespace headlight::cli {
namespace {

/// Verbs of the contract that later versions bring: a clear refusal, never fake output.
const std::vector<std::string> kLaterVerbs = {"analyze", "roles",  "calibrate", "eval",   "importance", "prune",
                                              "export",  "import", "report",    "render", "run",        "plugins"};

int report_error(const Invocation& invocation, const Error& error) {
  const int code =
      error.code() == Errc::cancelled && interrupt_exit_code() ? interrupt_exit_code() : exit_code(error.code());
  if (invocation.json) {
    Json document;
    document["schema"] = "headlight.error/1";
    document["code"] = to_string(error.code());
    document["message"] = error.what();
    document["hint"] = error.context().hint;
    std::fputs((dump_json(document) + "\n").c_str(), stdout);
  }
  if (error.code() == Errc::cancelled) {
    std::fputs(fmt::format("headlight: stopped: {}\n", error.what()).c_str(), stderr);
    return code;
  }
  std::string text = fmt::format("headlight: {}", error.what());
  if (!error.context().hint.empty()) text += "; " + error.context().hint;
  std::fputs((text + "\n").c_str(), stderr);
  return code;
}

int run_action(const Action& action, Invocation& invocation) {
  try {
    action(invocation);
    return 0;
  } catch (const Error& error) {
    return report_error(invocation, error);
  } catch (const std::bad_alloc&) {
    return report_error(invocation, Error(Errc::out_of_memory, "not enough memory",
                                          {.file = {},
                                           .field = {},
                                           .offset = {},
                                           .hint = "use a shorter prompt, or --estimate to see what is needed"}));
  } catch (const std::exception& error) {
    return report_error(invocation, Error(Errc::internal, std::string("internal error: ") + error.what()));
  }
}

/// Unknown words come from CLI11 as exceptions; we say what was probably meant.
int report_usage_error(const Invocation& invocation, const CLI::App& app, const CLI::App* verb,
                       const CLI::ParseError& error, int argc, char** argv) {
  std::string text = error.what();
  if (const auto* extras = dynamic_cast<const CLI::ExtrasError*>(&error); extras != nullptr || verb == nullptr) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      const std::string name = word.substr(0, word.find('='));
      if (verb == nullptr && !word.starts_with("-")) {
        const std::string guess = closest_match(word, verb_names());
        text = fmt::format("unknown verb '{}'{}", word, guess.empty() ? "" : fmt::format("; did you mean {}?", guess));
        break;
      }
      if (verb != nullptr && name.starts_with("--") && !has_option(*verb, name)) {
        const std::string guess = closest_match(name, option_names(*verb));
        text = fmt::format("unknown option {}{}", name, guess.empty() ? "" : fmt::format("; did you mean {}?", guess));
        break;
      }
    }
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const std::string hint = fmt::format("see: headlight{} --help", verb ? " " + verb->get_name() : "");
  static_cast<void>(app);
  return report_error(invocation,
                      Error(Errc::invalid_argument, text, {.file = {}, .field = {}, .offset = {}, .hint = hint}));
}

std::string typed_command(int argc, char** argv) {
  std::string text = "headlight";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789-_./=:,+@%") == std::string::npos;
    std::string quoted;
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    text += plain ? " " + word : " '" + quoted + "'";
  }
  return text;
}

void add_common_options(CLI::App& app, Invocation& invocation) {
  app.add_flag("--json", invocation.json, "Print exactly one JSON document on stdout")->group("Output");
  app.add_flag("-q,--quiet", invocation.quiet, "No progress and no notes on stderr")->group("Output");
  app.add_flag("-v,--verbose", invocation.verbose, "More notes on stderr")->group("Output");
  app.add_option("--progress", invocation.progress, "Progress on stderr")
      ->check(CLI::IsMember({"auto", "bar", "lines", "json", "none"}))
      ->capture_default_str()
      ->group("Output");
}

int main_of(int argc, char** argv) {
  Invocation invocation;
  invocation.command_line = typed_command(argc, argv);

  if (argc >= 2 && std::string(argv[1]) == "__complete") return print_completions(argc - 2, argv + 2);
  if (argc >= 2 && std::find(kLaterVerbs.begin(), kLaterVerbs.end(), argv[1]) != kLaterVerbs.end())
    return report_error(invocation, Error(Errc::unsupported, fmt::format("'{}' is not in this version", argv[1])));

  CLI::App app("Shows what the attention heads of a language model do.", "headlight");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "Show help");
  app.set_version_flag("--version", std::string("headlight ") + std::string(version()));
  app.require_subcommand(0, 1);

  std::vector<std::pair<const Verb*, Action>> actions;
  for (const Verb& verb : verbs()) {
    CLI::App* sub = app.add_subcommand(verb.name, verb.summary);
    sub->formatter(app.get_formatter());
    sub->footer(examples_text(verb));
    actions.emplace_back(&verb, verb.define(*sub));
    add_common_options(*sub, invocation);
  }
  const bool wants_json =
      std::any_of(argv, argv + argc, [](const char* word) { return std::string(word) == "--json"; });
  try {
    if (argc == 2 && std::string(argv[1]) == "help") {
      std::fputs(app.help().c_str(), stdout);
      return 0;
    }
    if (argc == 3 && std::string(argv[1]) == "help") {
      const char* words[] = {argv[0], argv[2], "--help"};
      app.parse(3, words);
    }
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    invocation.json = wants_json;
    const auto chosen = app.get_subcommands();
    return report_usage_error(invocation, app, chosen.empty() ? nullptr : chosen.front(), error, argc, argv);
  }
  const auto chosen = app.get_subcommands();
  if (chosen.empty()) {
    std::fputs(app.help().c_str(), argc == 1 ? stdout : stderr);
    return argc == 1 ? 0 : 2;
  }
  invocation.verb = chosen.front()->get_name();
  set_log_level(invocation.quiet ? LogLevel::error : invocation.verbose ? LogLevel::debug : LogLevel::info);
  for (const auto& [verb, action] : actions) {
    if (verb->name != invocation.verb) continue;
    const auto work = [&] {
      invocation.stop = install_interrupt_handlers();
      return run_action(action, invocation);
    };
    if (!verb->reads_capture) return work();
    try {
      return capture::run_guarded(work);
    } catch (const Error& error) {
      return report_error(invocation, error);
    }
  }
  return 2;
}

}  // namespace
}  // namespace headlight::cli

int main(int argc, char** argv) {
  return headlight::cli::main_of(argc, argv);
}
