#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "core/intervention/intervention.h"

namespace headlight::workbench {

enum class PromptKind { raw, chat, token_ids };
std::string_view to_string(PromptKind kind);

/// What a person types.
struct PromptText {
  PromptKind kind = PromptKind::raw;
  std::string text;    ///< the prompt, the user's message, or ids
  std::string system;  ///< chat: system message, empty = none
  bool operator==(const PromptText&) const = default;
};

/// The document of a window, `*.headlight.json`: everything that is undoable and saved. Captures are named, never
/// changed.
struct Project {
  std::string model;  ///< path or registry name, as given
  PromptText prompt;
  std::string capture;  ///< path of an open capture file; empty = the prompt is run
  intervention::Stack interventions;
  std::vector<intervention::HeadId> head_set;  ///< heads put aside by hand, ascending
  std::string notes;
};

/// {"schema": "headlight.project/1", "model", "prompt": {"kind", "text", "system"}, "capture", "interventions",
/// "head_set", "notes"}; all members are written.
Json to_json(const Project& project);
/// @error bad_format, bad_version; names the member
Project project_from_json(const Json& json);

/// @error as project_from_json(), not_found, unreadable
Project load_project(const std::string& path);
/// @error io
void save_project(const Project& project, const std::string& path);

/// The interventions of an intervention file. @error as intervention::intervention_file_from_json()
intervention::Stack stack_from_json(const Json& file);

/// An id of the stack that is not taken: "scale-heads", "scale-heads-2", ...
std::string unused_id(const intervention::Stack& stack, const std::string& wish);

}  // namespace headlight::workbench
