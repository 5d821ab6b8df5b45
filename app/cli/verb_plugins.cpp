#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/cli/invocation.h"
#include "plugins/plugin_host.h"

namespace headlight::cli {
namespace {

void list_plugins(Invocation& invocation) {
  Json list = Json::array();
  std::string text;
  for (const plugins::LoadedPlugin& plugin : plugins::loaded_plugins()) {
    list.push_back({{"path", plugin.path},
                    {"name", plugin.name},
                    {"version", plugin.version},
                    {"interventions", plugin.interventions},
                    {"analyses", plugin.analyses}});
    text += fmt::format("{} {} ({})\n", plugin.name, plugin.version, plugin.path);
    if (!plugin.interventions.empty())
      text += fmt::format("  interventions: {}\n", fmt::join(plugin.interventions, ", "));
    if (!plugin.analyses.empty()) text += fmt::format("  analyses: {}\n", fmt::join(plugin.analyses, ", "));
  }
  if (invocation.json) return print_json(invocation, {}, list);
  print_text(text.empty() ? "no plugin is loaded: name one with --plugin FILE.so\n" : text);
}

}  // namespace

Verb plugins_verb() {
  return {.name = "plugins",
          .summary = "Check plugins and list what they bring",
          .examples = {"headlight plugins --plugin ./mine.so"},
          .define = [](CLI::App&) -> Action { return list_plugins; }};
}

}  // namespace headlight::cli
