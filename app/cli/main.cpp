// The `headlight` command: parses, dispatches to one verb, and turns every failure into one sentence and an exit code.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/help.h"
#include "app/cli/interrupt.h"
#include "app/cli/invocation.h"
#include "app/cli/ranges.h"
#include "app/workbench/command_line.h"
#include "base/closest_match.h"
#include "base/error.h"
#include "base/log.h"
#include "core/capture_hdf5/guard.h"
#include "plugins/plugin_host.h"

namespace headlight::cli {
namespace {

/// Verbs of the contract that later versions bring: a clear refusal, never fake output.
const std::vector<std::string> kLaterVerbs = {"importance", "prune", "export", "import", "render", "run"};

int report_error(const Invocation& invocation, const Error& error) {
  const int code =
      error.code() == Errc::cancelled && interrupt_exit_code() ? interrupt_exit_code() : exit_code(error.code());
  if (invocation.json && !invocation.document_printed) {
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
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again)
      return report_error(invocation, Error(Errc::out_of_memory, "no thread can be started: limit of threads or memory",
                                            {.file = {}, .field = {}, .offset = {}, .hint = "use --threads 1"}));
    return report_error(invocation, Error(Errc::internal, std::string("internal error: ") + error.what()));
  }
}

std::string meant(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string guess = closest_match(word, candidates);
  return guess.empty() ? "" : fmt::format("; did you mean {}?", guess);
}

/// Words that CLI11 could not place say more than what it misses because of them; we say what was probably meant.
int report_usage_error(const Invocation& invocation, const CLI::App& app, const CLI::App* verb,
                       const CLI::ParseError& error) {
  std::string text = error.what();
  const bool is_about_words = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ||
                              dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  const std::vector<std::string> left = is_about_words ? app.remaining(true) : std::vector<std::string>();
  const auto option = std::find_if(left.begin(), left.end(), [](const auto& word) { return word.starts_with("-"); });
  if (verb == nullptr && !left.empty() && option != left.begin()) {
    text = fmt::format("unknown verb '{}'{}", left.front(), meant(left.front(), verb_names()));
  } else if (option != left.end()) {
    const std::string name = option->substr(0, option->find('='));
    text = fmt::format("unknown option {}{}", name, verb != nullptr ? meant(name, option_names(*verb)) : "");
  } else if (!left.empty() && dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    text = fmt::format("unexpected word '{}'", left.front());
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const std::string hint = fmt::format("see: headlight{} --help", verb ? " " + verb->get_name() : "");
  return report_error(invocation,
                      Error(Errc::invalid_argument, text, {.file = {}, .field = {}, .offset = {}, .hint = hint}));
}

/// The words after the program's name, last first as CLI11 wants them. `help VERB` is `VERB --help`; `--option=` has an
/// empty value (CLI11 would take the next word).
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("--") && word.size() > 3 && word.find('=') == word.size() - 1) {
      words.push_back(word.substr(0, word.size() - 1));
      words.emplace_back();
    } else {
      words.push_back(word);
    }
  }
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  std::reverse(words.begin(), words.end());
  return words;
}

/// A stream that the caller closed must not become the first file we open.
void fill_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

std::string typed_command(int argc, char** argv) {
  std::string text = "headlight";
  for (int i = 1; i < argc; ++i) text += " " + workbench::shell_word(argv[i]);
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
  app.add_option("--plugin", invocation.plugins, "Shared libraries with interventions or analyses: they run as you do")
      ->type_name("FILE.so")
      ->allow_extra_args(false)
      ->group("Output");
}

int main_of(int argc, char** argv) {
  fill_standard_streams();
  Invocation invocation;
  invocation.command_line = typed_command(argc, argv);

  if (argc >= 2 && std::string(argv[1]) == "__complete") return print_completions(argc - 2, argv + 2);
  const bool wants_json = std::find(argv, argv + argc, std::string_view("--json")) != argv + argc;
  if (argc >= 2 && std::find(kLaterVerbs.begin(), kLaterVerbs.end(), argv[1]) != kLaterVerbs.end()) {
    invocation.json = wants_json;
    return report_error(invocation, Error(Errc::unsupported, fmt::format("'{}' is not in this version", argv[1])));
  }

  CLI::App app("Shows what the attention heads of a language model do.", "headlight");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "Show help");
  app.set_version_flag("--version", fmt::format("headlight {}\n", version()));
  app.require_subcommand(0, 1);

  std::vector<std::pair<const Verb*, Action>> actions;
  for (const Verb& verb : verbs()) {
    CLI::App* sub = app.add_subcommand(verb.name, verb.summary);
    sub->formatter(app.get_formatter());
    sub->footer(examples_text(verb));
    actions.emplace_back(&verb, verb.define(*sub));
    add_common_options(*sub, invocation);
  }
  const auto print = [&](const std::string& text) {
    return run_action([&](Invocation&) { print_text(text); }, invocation);
  };
  std::vector<const CLI::App*> chosen;
  try {
    auto words = words_of(argc, argv);
    app.parse(words);
    for (const CLI::App* sub : app.get_subcommands()) chosen.push_back(sub);
  } catch (const CLI::CallForVersion& asked) {
    return print(asked.what());
  } catch (const CLI::CallForHelp&) {
    const auto subs = app.get_subcommands();
    if (!subs.empty()) return print(subs.front()->help());
    const auto left = app.remaining();
    if (left.empty()) return print(app.help());
    invocation.json = wants_json;
    return report_usage_error(invocation, app, nullptr, CLI::ExtrasError(left));
  } catch (const CLI::ParseError& error) {
    invocation.json = wants_json;
    const auto subs = app.get_subcommands();
    return report_usage_error(invocation, app, subs.empty() ? nullptr : subs.front(), error);
  }
  if (chosen.empty()) return print(app.help());
  invocation.verb = chosen.front()->get_name();
  set_log_level(invocation.quiet ? LogLevel::error : invocation.verbose ? LogLevel::debug : LogLevel::info);
  for (const auto& [verb, action] : actions) {
    if (verb->name != invocation.verb) continue;
    const auto work = [&] {
      return run_action(
          [&](Invocation& inv) {
            inv.stop = install_interrupt_handlers();
            for (const std::string& path : inv.plugins) plugins::load_plugin(path);
            action(inv);
          },
          invocation);
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
