#include "app/cli/help.h"

#include <cstdio>
#include <sstream>

#include <fmt/format.h>

namespace headlight::cli {
namespace {

constexpr std::size_t kWidth = 80;
constexpr std::size_t kColumn = 30;

/// Words of `text` in lines of at most kWidth - indent characters; continuation lines are indented.
std::string wrapped(const std::string& text, std::size_t indent) {
  std::istringstream words(text);
  std::string word, line, result;
  while (words >> word) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > kWidth) {
      result += line + "\n" + std::string(indent, ' ');
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return result + line;
}

std::string row(const std::string& left, const std::string& right) {
  std::string text = "  " + left;
  if (text.size() + 2 > kColumn)
    text += "\n" + std::string(kColumn, ' ');
  else
    text.append(kColumn - text.size(), ' ');
  return text + wrapped(right, kColumn) + "\n";
}

std::string option_left(const CLI::Option& option) {
  std::string text = option.get_name(option.get_positional(), true);
  for (std::size_t at = 0; (at = text.find(',', at)) != std::string::npos; at += 2) text.replace(at, 1, ", ");
  const std::string type = option.get_type_name();
  const auto colon = type.find(':');
  if (option.get_items_expected_max() > 0 && !option.get_positional())
    text += " " + (colon == std::string::npos ? type : type.substr(0, colon));
  return text;
}

std::string option_right(const CLI::Option& option) {
  std::string text = option.get_description();
  const std::string type = option.get_type_name();
  const auto brace = type.find('{');
  if (brace != std::string::npos) text += " " + type.substr(brace);
  if (!option.get_default_str().empty()) text += " [" + option.get_default_str() + "]";
  return text;
}

std::string verb_table(const CLI::App& app) {
  std::string text = "\nVerbs:\n";
  for (const CLI::App* sub : app.get_subcommands({})) text += row(sub->get_name(), sub->get_description());
  return text + "\nRun 'headlight VERB --help' for the options of a verb.\n";
}

}  // namespace

HelpFormatter::HelpFormatter() {
  column_width(kColumn);
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  std::string text = wrapped(app->get_description(), 0) + "\n\nUsage: headlight";
  if (app->get_parent() == nullptr) return text + " VERB [INPUT...] [OPTIONS]\n" + verb_table(*app);
  text += " " + app->get_name();
  for (const CLI::Option* option : app->get_options([](const CLI::Option* o) { return o->get_positional(); }))
    text += option->get_required() ? " " + option->get_name(true) : " [" + option->get_name(true) + "]";
  text += " [OPTIONS]\n" + app->get_footer();
  for (const std::string& group : app->get_groups()) {
    if (group.empty()) continue;
    std::string rows;
    for (const CLI::Option* option : app->get_options([&](const CLI::Option* o) { return o->get_group() == group; }))
      rows += row(option_left(*option), option_right(*option));
    if (!rows.empty()) text += "\n" + group + ":\n" + rows;
  }
  return text;
}

std::string examples_text(const Verb& verb) {
  std::string text;
  for (const std::string& example : verb.examples) text += "  " + example + "\n";
  return text.empty() ? text : "\nExamples:\n" + text;
}

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : verbs()) names.push_back(verb.name);
  return names;
}

std::vector<std::string> option_names(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

bool has_option(const CLI::App& verb, const std::string& name) {
  const auto names = option_names(verb);
  return std::find(names.begin(), names.end(), name) != names.end();
}

int print_completions(int argc, char** argv) {
  std::vector<std::string> candidates;
  if (argc <= 1) {
    candidates = verb_names();
  } else {
    for (const Verb& verb : verbs()) {
      if (verb.name != argv[0]) continue;
      CLI::App app;
      verb.define(app);
      candidates = option_names(app);
      for (const char* common : {"--json", "--quiet", "--verbose", "--progress"}) candidates.emplace_back(common);
    }
  }
  const std::string prefix = argc > 0 ? argv[argc - 1] : "";
  for (const auto& candidate : candidates)
    if (candidate.starts_with(prefix)) std::puts(candidate.c_str());
  return 0;
}

}  // namespace headlight::cli
