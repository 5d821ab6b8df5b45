#include "app/cli/intervention_input.h"

#include <set>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "core/intervention/intervention_file.h"
#include "core/intervention/method.h"

namespace headlight::cli {
namespace {

Json parameter_json(const intervention::Parameter& parameter) {
  Json json;
  json["name"] = parameter.name;
  json["default"] = parameter.fallback;
  if (parameter.fallback.is_number()) {
    json["min"] = parameter.low;
    json["max"] = parameter.high;
  }
  if (!parameter.choices.empty()) json["choices"] = parameter.choices;
  if (!parameter.identity.is_null()) json["identity"] = parameter.identity;
  json["per_head"] = parameter.per_head;
  json["doc"] = parameter.doc;
  return json;
}

}  // namespace

void add_intervention_option(CLI::App& app, ModelOptions& options) {
  options.takes_interventions = true;
  app.get_option("--intervention")->description("Intervention files, applied in order (CPU only)");
}

namespace {

Changes load_changes(const ModelOptions& options) {
  Changes changes;
  std::set<std::string> ids;
  for (const std::string& path : options.interventions) {
    intervention::InterventionFile file = intervention::load_intervention_file(path);
    for (intervention::Intervention& entry : file.interventions) {
      if (!ids.insert(entry.id).second)
        throw Error(Errc::invalid_argument, fmt::format("intervention '{}' occurs twice", entry.id),
                    {.file = path, .field = "interventions", .offset = {}, .hint = {}});
      changes.interventions.push_back(std::move(entry));
    }
    if (file.contrast && changes.contrast)
      throw Error(Errc::invalid_argument, "only one procedure can run",
                  {.file = path, .field = "kind", .offset = {}, .hint = {}});
    if (file.contrast) changes.contrast = std::move(file.contrast);
  }
  return changes;
}

intervention::Stack without_procedure(Changes changes) {
  if (changes.contrast)
    throw Error(Errc::unsupported, "a procedure runs several sequences: only 'generate' does that in this version",
                {.file = {}, .field = "--intervention", .offset = {}, .hint = {}});
  return std::move(changes.interventions);
}

}  // namespace

Changes read_changes(const ModelOptions& options, const capture::RecordHeader& prompt) {
  Changes changes = load_changes(options);
  std::vector<intervention::TokenPlace> places;
  for (const capture::TokenInfo& token : prompt.tokens) places.push_back({token.byte_begin, token.byte_end});
  intervention::look_up_spans(changes.interventions, prompt.text, places);
  if (changes.contrast)
    for (auto& branch : changes.contrast->branches)
      intervention::look_up_spans(branch.interventions, prompt.text, places);
  return changes;
}

intervention::Stack load_interventions(const ModelOptions& options) {
  return without_procedure(load_changes(options));
}

intervention::Stack read_interventions(const ModelOptions& options, const capture::RecordHeader& prompt) {
  return without_procedure(read_changes(options, prompt));
}

Json method_list() {
  Json list = Json::array();
  for (const intervention::Method& method : intervention::methods()) {
    Json json;
    json["id"] = method.id;
    json["title"] = method.title;
    json["formula"] = method.formula;
    json["hook"] = method.hook;
    json["source"] = method.source;
    json["parameters"] = Json::array();
    for (const intervention::Parameter& parameter : method.parameters)
      json["parameters"].push_back(parameter_json(parameter));
    list.push_back(json);
  }
  return list;
}

Json intervention_info(const Json& document, const std::string& path) {
  intervention::InterventionFile file;
  try {
    file = intervention::intervention_file_from_json(document);
  } catch (const Error& error) {
    throw error.in_file(path);
  }
  Json result;
  result["kind"] = file.contrast ? "procedure" : "intervention";
  result["schema"] = document["schema"];
  if (!file.model.empty()) result["model"] = file.model;
  if (file.contrast) {
    result["procedure"] = {{"gamma", file.contrast->gamma}, {"cutoff", file.contrast->cutoff}};
    for (const auto& branch : file.contrast->branches)
      for (const intervention::Intervention& entry : branch.interventions)
        result["procedure"][branch.id][entry.id] = entry.method;
  }
  for (const intervention::Intervention& entry : file.interventions) {
    const intervention::Method& method = intervention::require_method(entry.method);
    Json json;
    json["method"] = fmt::format("{} ({})", method.id, method.title);
    json["enabled"] = entry.enabled;
    json["formula"] = method.formula;
    for (const intervention::Parameter& parameter : method.parameters)
      json[std::string(parameter.name)] = entry.params.value(std::string(parameter.name), parameter.fallback);
    const Json written = intervention::to_json(entry);
    for (const char* part : {"scope", "inputs"})
      if (written.contains(part)) json[part] = dump_json(written[part], -1);
    result[entry.id] = json;
  }
  return result;
}

}  // namespace headlight::cli
