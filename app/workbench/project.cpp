#include "app/workbench/project.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "core/heads/head_set.h"
#include "core/intervention/intervention_file.h"

namespace headlight::workbench {
namespace {

constexpr std::string_view kSchema = "headlight.project/1";
constexpr int kMaxLayers = 1024, kMaxHeads = 1024;

std::vector<intervention::HeadId> heads_from_json(const Json& list) {
  std::vector<intervention::HeadId> found;
  for (const Json& entry : list) {
    if (!entry.is_string())
      throw Error(Errc::bad_format, "expected head ids such as \"L3H7\"",
                  {.file = {}, .field = "head_set", .offset = {}, .hint = {}});
    found.push_back(
        heads::parse_one_head(entry.get<std::string>(), {.grid = {kMaxLayers, kMaxHeads, kMaxHeads}}, "head_set"));
  }
  std::sort(found.begin(), found.end());
  return found;
}

PromptKind prompt_kind_named(const std::string& name) {
  for (const PromptKind kind : {PromptKind::raw, PromptKind::chat, PromptKind::token_ids})
    if (name == to_string(kind)) return kind;
  throw Error(Errc::bad_format, fmt::format("expected \"raw\", \"chat\" or \"token_ids\", found \"{}\"", name),
              {.file = {}, .field = "prompt.kind", .offset = {}, .hint = {}});
}

}  // namespace

std::string_view to_string(PromptKind kind) {
  switch (kind) {
    case PromptKind::raw:
      return "raw";
    case PromptKind::chat:
      return "chat";
    case PromptKind::token_ids:
      return "token_ids";
  }
  return "raw";
}

Json to_json(const Project& project) {
  Json json;
  json["schema"] = kSchema;
  json["model"] = project.model;
  json["prompt"] = {
      {"kind", to_string(project.prompt.kind)}, {"text", project.prompt.text}, {"system", project.prompt.system}};
  json["capture"] = project.capture;
  json["interventions"] = Json::array();
  for (const auto& entry : project.interventions) json["interventions"].push_back(intervention::to_json(entry));
  json["head_set"] = Json::array();
  for (const auto head : project.head_set) json["head_set"].push_back(heads::to_string(head));
  json["notes"] = project.notes;
  return json;
}

Project project_from_json(const Json& json) {
  const std::string schema = json_string(json, "schema");
  if (schema != kSchema)
    throw Error(Errc::bad_version, fmt::format("expected schema \"{}\", found \"{}\"", kSchema, schema));
  Project project;
  project.model = json_string_or(json, "model", "");
  if (const Json* prompt = json_find(json, "prompt")) {
    const std::string kind = json_string_or(*prompt, "kind", "raw", "prompt");
    project.prompt.kind = prompt_kind_named(kind);
    project.prompt.text = json_string_or(*prompt, "text", "", "prompt");
    project.prompt.system = json_string_or(*prompt, "system", "", "prompt");
  }
  project.capture = json_string_or(json, "capture", "");
  if (const Json* stack = json_find(json, "interventions")) {
    const Json file = {{"schema", "headlight.intervention/1"}, {"kind", "intervention"}, {"interventions", *stack}};
    project.interventions = stack_from_json(file);
  }
  if (const Json* list = json_find(json, "head_set")) project.head_set = heads_from_json(*list);
  project.notes = json_string_or(json, "notes", "");
  return project;
}

Project load_project(const std::string& path) {
  try {
    return project_from_json(load_json(path));
  } catch (const Error& error) {
    throw error.in_file(path);
  }
}

void save_project(const Project& project, const std::string& path) {
  OutputFile file(path, true);
  file.write(dump_json(to_json(project)) + "\n");
  file.commit();
}

intervention::Stack stack_from_json(const Json& file) {
  return intervention::intervention_file_from_json(file).interventions;
}

std::string unused_id(const intervention::Stack& stack, const std::string& wish) {
  const auto taken = [&](const std::string& id) {
    return std::any_of(stack.begin(), stack.end(), [&](const auto& entry) { return entry.id == id; });
  };
  std::string id = wish;
  for (int n = 2; taken(id); ++n) id = fmt::format("{}-{}", wish, n);
  return id;
}

}  // namespace headlight::workbench
