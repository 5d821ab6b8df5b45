#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/invocation.h"

namespace headlight::cli {
namespace {

constexpr const char* kBash = R"sh(_headlight() {
  local current="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=($(headlight __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _headlight headlight
)sh";

constexpr const char* kZsh = R"sh(#compdef headlight
_headlight() {
  local -a candidates
  candidates=(${(f)"$(headlight __complete "${words[@]:1:$((CURRENT-1))}" 2>/dev/null)"})
  if (( ${#candidates} )); then compadd -a candidates; else _files; fi
}
compdef _headlight headlight
)sh";

constexpr const char* kFish = R"sh(function __headlight_complete
  set -l words (commandline -opc) (commandline -ct)
  headlight __complete $words[2..-1] 2>/dev/null
end
complete -c headlight -a '(__headlight_complete)'
)sh";

}  // namespace

Verb completion_verb() {
  return {
      .name = "completion",
      .summary = "Completion script for a shell",
      .examples = {"headlight completion bash >> ~/.bash_completion"},
      .define = [](CLI::App& app) -> Action {
        auto shell = std::make_shared<std::string>();
        app.add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
        return [=](Invocation& invocation) {
          const char* script = *shell == "bash" ? kBash : *shell == "zsh" ? kZsh : kFish;
          if (invocation.json)
            print_json(invocation, {}, {{"shell", *shell}, {"script", script}});
          else
            print_text(script);
        };
      }};
}

Verb version_verb() {
  return {.name = "version",
          .summary = "Version of this build",
          .examples = {"headlight version --json"},
          .define = [](CLI::App&) -> Action {
            return [](Invocation& invocation) {
              if (invocation.json)
                print_json(invocation, {}, {{"version", version()}});
              else
                print_text(fmt::format("headlight {}\n", version()));
            };
          }};
}

}  // namespace headlight::cli
