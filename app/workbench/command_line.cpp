#include "app/workbench/command_line.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/workbench/prompt.h"
#include "core/intervention/intervention_file.h"

namespace headlight::workbench {
namespace {

/// Lines that write a document to a file of the shell.
std::string written_file(const std::string& name, const Json& json) {
  return fmt::format("cat > {} <<'END'\n{}\nEND\n", name, dump_json(json));
}

struct PromptArguments {
  std::string before, words;  ///< lines that come first, words of the command
};

PromptArguments prompt_arguments(const Project& project) {
  if (project.prompt.kind == PromptKind::raw) return {"", "-p " + shell_word(project.prompt.text)};
  if (project.prompt.kind == PromptKind::token_ids)
    return {"", fmt::format("--token-ids {}", fmt::join(parse_token_ids(project.prompt.text), ","))};
  Json messages = Json::array();
  if (!project.prompt.system.empty()) messages.push_back({{"role", "system"}, {"content", project.prompt.system}});
  messages.push_back({{"role", "user"}, {"content", project.prompt.text}});
  return {written_file("chat.json", messages), "--chat-file chat.json"};
}

std::string record_argument(std::int64_t record) {
  return record > 0 ? fmt::format(" --record {}", record) : std::string();
}

}  // namespace

std::string shell_word(const std::string& text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_./:=,+@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string command_of_run(const Project& project, int top) {
  const PromptArguments prompt = prompt_arguments(project);
  std::string before = prompt.before, stack;
  if (!project.interventions.empty()) {
    before +=
        written_file("stack.json", to_json(intervention::InterventionFile{.interventions = project.interventions}));
    stack = " --intervention stack.json";
  }
  return before +
         fmt::format("headlight logits {} {} --last --top {}{}\n", shell_word(project.model), prompt.words, top, stack);
}

std::string command_of_capture(const Project& project, const std::string& output) {
  const PromptArguments prompt = prompt_arguments(project);
  return prompt.before +
         fmt::format("headlight capture {} {} -o {}\n", shell_word(project.model), prompt.words, shell_word(output));
}

std::string command_of_map(const std::string& capture, std::int64_t record, HeadId head, const std::string& scale,
                           const std::string& output) {
  return fmt::format("headlight map {}{} --head {}.{} --scale {} -o {}\n", shell_word(capture), record_argument(record),
                     head.layer, head.head, scale, shell_word(output));
}

std::string command_of_grid(const std::string& capture, std::int64_t record, const std::string& metric,
                            const std::string& heads) {
  return fmt::format("headlight stats {}{} --metric {} --per head{}\n", shell_word(capture), record_argument(record),
                     metric, heads.empty() ? "" : " --heads " + shell_word(heads));
}

std::string command_of_comparison(const std::string& a, const std::string& b) {
  return fmt::format("headlight compare {} {}\n", shell_word(b), shell_word(a));
}

}  // namespace headlight::workbench
