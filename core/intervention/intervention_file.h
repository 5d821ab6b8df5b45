#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/intervention/contrast.h"
#include "core/intervention/intervention.h"

namespace headlight::intervention {

/// A stack as a JSON file: {"schema": "headlight.intervention/1", "kind": "intervention", "model": {...},
/// "interventions": [{"id", "method", "version", "enabled", "scope": {"layers", "heads", "rows", "phase"}, "params",
/// "inputs": {"spans", "other_spans", "head_values", "layer_values", "source_ids", "sink_dims", "neurons"}, "compat"}],
/// "evidence": {...}}. A procedure has "kind": "procedure", "procedure": "contrastive-decoding", "params": {"gamma",
/// "cutoff"} and "branches": [{"id", "interventions"}] besides.
struct InterventionFile {
  Json model = Json::object();     ///< of the model it was made for; for display
  Json evidence = Json::object();  ///< how its parameters were found
  Stack interventions;
  std::optional<Contrast> contrast = {};  ///< where it is a procedure
};

/// Strict: unknown keys and methods, wrong types and ids that occur twice are errors with the JSON path.
/// @error bad_format, bad_version; unsupported (a procedure that is not known)
InterventionFile intervention_file_from_json(const Json& json);
InterventionFile load_intervention_file(const std::string& path);

/// Stable: members in the order above, what is empty or a default is left out.
Json to_json(const InterventionFile& file);
Json to_json(const Intervention& intervention);

/// Bytes of the text that a token stands for.
struct TokenPlace {
  std::int64_t begin = -1, end = -1;  ///< -1 = none
};

/// Replaces spans given as text by the tokens that touch the text, every occurrence of it; the text stays for display.
/// @error invalid_argument  the prompt does not contain it
void look_up_spans(Stack& stack, std::string_view text, std::span<const TokenPlace> tokens);

}  // namespace headlight::intervention
