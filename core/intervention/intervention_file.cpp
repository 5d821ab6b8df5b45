#include "core/intervention/intervention_file.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "base/error.h"
#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

constexpr std::string_view kSchema = "headlight.intervention/1";
constexpr std::uint64_t kMaxBytes = 256u << 20;  // head values may be many

[[noreturn]] void refuse(const std::string& path, const std::string& sentence) {
  throw Error(Errc::bad_format, sentence, {.file = {}, .field = path, .offset = {}, .hint = {}});
}

void allow_only(const Json& object, const std::string& path, std::initializer_list<std::string_view> keys) {
  if (!object.is_object()) refuse(path, "expected an object");
  for (const auto& [key, value] : object.items())
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) refuse(path, fmt::format("unknown key '{}'", key));
}

const Json* array_at(const Json& object, std::string_view key, const std::string& path) {
  const Json* json = json_find(object, key, path);
  if (json != nullptr && !json->is_array()) refuse(fmt::format("{}.{}", path, key), "expected a list");
  return json;
}

template <class T>
std::vector<T> integers_at(const Json& object, std::string_view key, const std::string& path) {
  std::vector<T> out;
  const Json* list = array_at(object, key, path);
  if (list == nullptr) return out;
  for (const Json& entry : *list) {
    if (!entry.is_number_integer()) refuse(fmt::format("{}.{}", path, key), "expected integers");
    const auto value = entry.get<std::int64_t>();
    if (value < 0 || value > std::numeric_limits<std::int32_t>::max())
      refuse(fmt::format("{}.{}", path, key), fmt::format("{} is out of range", value));
    out.push_back(static_cast<T>(value));
  }
  return out;
}

/// "L3H7"
HeadId head_from(const Json& json, const std::string& path) {
  const std::string text = json.is_string() ? json.get<std::string>() : std::string();
  HeadId id;
  const char* const end = text.data() + text.size();
  if (text.starts_with('L')) {
    const auto layer = std::from_chars(text.data() + 1, end, id.layer);
    if (layer.ec == std::errc() && layer.ptr != end && *layer.ptr == 'H') {
      const auto head = std::from_chars(layer.ptr + 1, end, id.head);
      if (head.ec == std::errc() && head.ptr == end && id.layer >= 0 && id.head >= 0) return id;
    }
  }
  refuse(path, fmt::format("expected a head such as \"L3H7\", found {}", dump_json(json, -1)));
}

std::pair<std::int64_t, std::int64_t> range_from(const Json& json, const std::string& path) {
  if (!json.is_array() || json.size() != 2 || !json[0].is_number_integer() || !json[1].is_number_integer())
    refuse(path, "expected [begin, end]");
  const auto begin = json[0].get<std::int64_t>(), end = json[1].get<std::int64_t>();
  if (begin < 0 || end <= begin) refuse(path, fmt::format("expected 0 <= begin < end, found {} and {}", begin, end));
  return {begin, end};
}

RowScope rows_from(const Json& json, const std::string& path) {
  RowScope rows;
  if (json.is_array()) {
    rows.kind = RowScope::Kind::range;
    std::tie(rows.begin, rows.end) = range_from(json, path);
    return rows;
  }
  const std::string word = json.is_string() ? json.get<std::string>() : std::string();
  if (word == "last")
    rows.kind = RowScope::Kind::last;
  else if (word == "generated")
    rows.kind = RowScope::Kind::generated;
  else if (word != "all")
    refuse(path, "expected all, last, generated or [begin, end]");
  return rows;
}

Phase phase_from(const std::string& word, const std::string& path) {
  if (word == "both") return Phase::both;
  if (word == "prefill") return Phase::prefill;
  if (word == "decode") return Phase::decode;
  refuse(path, fmt::format("expected both, prefill or decode, found '{}'", word));
}

Scope scope_from(const Json& json, const std::string& path) {
  allow_only(json, path, {"layers", "layers_of", "heads", "heads_list", "rows", "phase"});
  Scope scope;
  scope.layers = integers_at<int>(json, "layers", path);
  scope.layers_of = static_cast<int>(json_integer_or(json, "layers_of", 0, path));
  if (const Json* heads = json_find(json, "heads", path); heads != nullptr && heads->is_string())
    scope.heads_expression = heads->get<std::string>();
  else if (const Json* list = array_at(json, "heads", path))
    for (const Json& head : *list) scope.heads.push_back(head_from(head, path + ".heads"));
  if (const Json* list = array_at(json, "heads_list", path))
    for (const Json& head : *list) scope.heads.push_back(head_from(head, path + ".heads_list"));
  if (const Json* rows = json_find(json, "rows", path)) scope.rows = rows_from(*rows, path + ".rows");
  scope.phase = phase_from(json_string_or(json, "phase", "both", path), path + ".phase");
  return scope;
}

Span span_from(const Json& json, const std::string& path) {
  allow_only(json, path, {"tokens", "text"});
  Span span;
  span.text = json_string_or(json, "text", "", path);
  if (const Json* tokens = json_find(json, "tokens", path))
    std::tie(span.begin, span.end) = range_from(*tokens, path + ".tokens");
  else if (span.text.empty())
    refuse(path, "expected tokens or a text");
  return span;
}

std::vector<float> numbers_from(const Json& list, const std::string& path) {
  std::vector<float> out;
  for (const Json& value : list) {
    if (!value.is_number()) refuse(path, "expected numbers");
    out.push_back(value.get<float>());
  }
  return out;
}

HeadValues values_from(const Json& json, const std::string& path) {
  allow_only(json, path, {"head", "values"});
  const Json* head = json_find(json, "head", path);
  const Json* list = array_at(json, "values", path);
  if (head == nullptr || list == nullptr) refuse(path, "expected head and values");
  return {head_from(*head, path + ".head"), numbers_from(*list, path + ".values")};
}

LayerValues layer_values_from(const Json& json, const std::string& path) {
  allow_only(json, path, {"layer", "values"});
  const Json* list = array_at(json, "values", path);
  if (list == nullptr) refuse(path, "expected layer and values");
  return {static_cast<int>(json_integer(json, "layer", path)), numbers_from(*list, path + ".values")};
}

Inputs inputs_from(const Json& json, const std::string& path) {
  allow_only(json, path, {"spans", "other_spans", "head_values", "layer_values", "source_ids", "sink_dims", "neurons"});
  Inputs inputs;
  for (const auto& [key, spans] : {std::pair("spans", &inputs.spans), std::pair("other_spans", &inputs.other_spans)})
    if (const Json* list = array_at(json, key, path))
      for (std::size_t n = 0; n < list->size(); ++n)
        spans->push_back(span_from((*list)[n], fmt::format("{}.{}[{}]", path, key, n)));
  if (const Json* list = array_at(json, "head_values", path))
    for (std::size_t n = 0; n < list->size(); ++n)
      inputs.head_values.push_back(values_from((*list)[n], fmt::format("{}.head_values[{}]", path, n)));
  if (const Json* list = array_at(json, "layer_values", path))
    for (std::size_t n = 0; n < list->size(); ++n)
      inputs.layer_values.push_back(layer_values_from((*list)[n], fmt::format("{}.layer_values[{}]", path, n)));
  inputs.source_ids = integers_at<std::int32_t>(json, "source_ids", path);
  inputs.sink_dims = integers_at<int>(json, "sink_dims", path);
  inputs.neurons = integers_at<int>(json, "neurons", path);
  return inputs;
}

Intervention intervention_from(const Json& json, const std::string& path) {
  allow_only(json, path, {"id", "method", "version", "enabled", "scope", "params", "inputs", "compat"});
  Intervention out;
  out.method = json_string(json, "method", path);
  out.id = json_string_or(json, "id", out.method, path);
  out.version = static_cast<int>(json_integer_or(json, "version", 1, path));
  out.enabled = json_bool_or(json, "enabled", true, path);
  out.compat = json_string_or(json, "compat", "paper", path);
  if (const Json* scope = json_find(json, "scope", path)) out.scope = scope_from(*scope, path + ".scope");
  if (const Json* params = json_find(json, "params", path)) {
    if (!params->is_object()) refuse(path + ".params", "expected an object");
    out.params = *params;
  }
  if (const Json* inputs = json_find(json, "inputs", path)) out.inputs = inputs_from(*inputs, path + ".inputs");
  try {
    require_method(out.method);
  } catch (const Error& error) {
    refuse(path + ".method", error.message());
  }
  return out;
}

/// Member "interventions" of an object.
Stack stack_from(const Json& json, const std::string& path) {
  const Json* list = array_at(json, "interventions", path);
  const std::string field = path.empty() ? "interventions" : path + ".interventions";
  if (list == nullptr) refuse(field, "is missing");
  Stack stack;
  std::set<std::string> ids;
  for (std::size_t n = 0; n < list->size(); ++n) {
    const std::string entry = fmt::format("{}[{}]", field, n);
    stack.push_back(intervention_from((*list)[n], entry));
    if (!ids.insert(stack.back().id).second) refuse(entry + ".id", fmt::format("'{}' occurs twice", stack.back().id));
  }
  return stack;
}

double parameter_from(const Json& params, const char* key, double fallback, double high) {
  const double value = json_number_or(params, key, fallback, "params");
  if (!(value >= 0.0 && value <= high))
    refuse(fmt::format("params.{}", key), fmt::format("expected 0 to {}, found {}", high, value));
  return value;
}

Contrast contrast_from(const Json& json) {
  const std::string name = json_string(json, "procedure");
  if (name != "contrastive-decoding")
    throw Error(Errc::unsupported, fmt::format("procedure '{}' is not in this version", name),
                {.file = {}, .field = "procedure", .offset = {}, .hint = {}});
  Contrast contrast;
  if (const Json* params = json_find(json, "params")) {
    allow_only(*params, "params", {"gamma", "cutoff"});
    contrast.gamma = parameter_from(*params, "gamma", contrast.gamma, 10.0);
    contrast.cutoff = parameter_from(*params, "cutoff", contrast.cutoff, 1.0);
  }
  const Json* branches = array_at(json, "branches", "");
  if (branches == nullptr || branches->empty()) refuse("branches", "expected at least one branch");
  for (std::size_t n = 0; n < branches->size(); ++n) {
    const std::string path = fmt::format("branches[{}]", n);
    allow_only((*branches)[n], path, {"id", "interventions"});
    contrast.branches.push_back({json_string_or((*branches)[n], "id", path, path), stack_from((*branches)[n], path)});
  }
  return contrast;
}

Json stack_json(const Stack& stack) {
  Json out = Json::array();
  for (const Intervention& intervention : stack) out.push_back(to_json(intervention));
  return out;
}

Json heads_json(const std::vector<HeadId>& list) {
  Json out = Json::array();
  for (const HeadId head : list) out.push_back(heads::to_string(head));
  return out;
}

Json scope_json(const Scope& scope) {
  Json out = Json::object();
  if (!scope.layers.empty()) out["layers"] = scope.layers;
  if (scope.layers_of > 0) out["layers_of"] = scope.layers_of;
  if (!scope.heads_expression.empty()) out["heads"] = scope.heads_expression;
  if (!scope.heads.empty()) out[scope.heads_expression.empty() ? "heads" : "heads_list"] = heads_json(scope.heads);
  if (scope.rows.kind == RowScope::Kind::last) out["rows"] = "last";
  if (scope.rows.kind == RowScope::Kind::generated) out["rows"] = "generated";
  if (scope.rows.kind == RowScope::Kind::range) out["rows"] = Json::array({scope.rows.begin, scope.rows.end});
  if (scope.phase != Phase::both) out["phase"] = scope.phase == Phase::prefill ? "prefill" : "decode";
  return out;
}

Json inputs_json(const Inputs& inputs) {
  Json out = Json::object();
  for (const auto& [key, spans] : {std::pair("spans", &inputs.spans), std::pair("other_spans", &inputs.other_spans)})
    for (const Span& span : *spans) {
      Json json = Json::object();
      if (span.begin >= 0) json["tokens"] = Json::array({span.begin, span.end});
      if (!span.text.empty()) json["text"] = span.text;
      out[key].push_back(json);
    }
  for (const HeadValues& values : inputs.head_values) {
    Json json = Json::object();
    json["head"] = heads::to_string(values.head);
    json["values"] = values.values;
    out["head_values"].push_back(json);
  }
  for (const LayerValues& values : inputs.layer_values)
    out["layer_values"].push_back({{"layer", values.layer}, {"values", values.values}});
  if (!inputs.source_ids.empty()) out["source_ids"] = inputs.source_ids;
  if (!inputs.sink_dims.empty()) out["sink_dims"] = inputs.sink_dims;
  if (!inputs.neurons.empty()) out["neurons"] = inputs.neurons;
  return out;
}

}  // namespace

InterventionFile intervention_file_from_json(const Json& json) {
  allow_only(json, "", {"schema", "kind", "model", "procedure", "params", "interventions", "branches", "evidence"});
  const std::string schema = json_string(json, "schema");
  if (schema != kSchema) {
    const bool other_version = schema.starts_with("headlight.intervention/");
    throw Error(other_version ? Errc::bad_version : Errc::bad_format,
                fmt::format("expected '{}', found '{}'", kSchema, schema),
                {.file = {}, .field = "schema", .offset = {}, .hint = {}});
  }
  const std::string kind = json_string_or(json, "kind", "intervention");
  if (kind != "intervention" && kind != "procedure")
    refuse("kind", fmt::format("expected intervention or procedure, found '{}'", kind));
  InterventionFile file;
  if (const Json* model = json_find(json, "model")) file.model = *model;
  if (const Json* evidence = json_find(json, "evidence")) file.evidence = *evidence;
  file.interventions = stack_from(json, "");
  if (kind == "procedure")
    file.contrast = contrast_from(json);
  else
    for (const char* key : {"procedure", "params", "branches"})
      if (json.contains(key)) refuse(key, "belongs to procedures");
  return file;
}

InterventionFile load_intervention_file(const std::string& path) {
  try {
    return intervention_file_from_json(load_json(path, {.max_bytes = kMaxBytes}));
  } catch (const Error& error) {
    throw error.in_file(path);
  }
}

Json to_json(const Intervention& intervention) {
  Json out = Json::object();
  out["id"] = intervention.id;
  out["method"] = intervention.method;
  out["version"] = intervention.version;
  out["enabled"] = intervention.enabled;
  if (Json scope = scope_json(intervention.scope); !scope.empty()) out["scope"] = scope;
  out["params"] = intervention.params;
  if (Json inputs = inputs_json(intervention.inputs); !inputs.empty()) out["inputs"] = inputs;
  out["compat"] = intervention.compat;
  return out;
}

Json to_json(const InterventionFile& file) {
  Json out = Json::object();
  out["schema"] = kSchema;
  out["kind"] = file.contrast ? "procedure" : "intervention";
  if (!file.model.empty()) out["model"] = file.model;
  if (file.contrast) {
    out["procedure"] = "contrastive-decoding";
    out["params"] = {{"gamma", file.contrast->gamma}, {"cutoff", file.contrast->cutoff}};
  }
  out["interventions"] = stack_json(file.interventions);
  if (file.contrast)
    for (const Contrast::Branch& branch : file.contrast->branches)
      out["branches"].push_back({{"id", branch.id}, {"interventions", stack_json(branch.interventions)}});
  if (!file.evidence.empty()) out["evidence"] = file.evidence;
  return out;
}

namespace {

void look_up(const Intervention& intervention, const char* field, std::vector<Span>& spans, std::string_view text,
             std::span<const TokenPlace> tokens) {
  std::vector<Span> found;
  for (const Span& span : spans) {
    if (span.begin >= 0) {
      found.push_back(span);
      continue;
    }
    const std::size_t before = found.size();
    for (auto at = text.find(span.text); at != std::string_view::npos; at = text.find(span.text, at + 1)) {
      const auto begin = static_cast<std::int64_t>(at), end = begin + static_cast<std::int64_t>(span.text.size());
      Span tokens_of{-1, -1, span.text};
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i].begin < 0 || tokens[i].begin >= end || tokens[i].end <= begin) continue;
        if (tokens_of.begin < 0) tokens_of.begin = static_cast<std::int64_t>(i);
        tokens_of.end = static_cast<std::int64_t>(i) + 1;
      }
      if (tokens_of.begin >= 0) found.push_back(tokens_of);
    }
    if (found.size() == before)
      throw Error(Errc::invalid_argument,
                  fmt::format("intervention '{}': the prompt does not contain '{}'", intervention.id, span.text),
                  {.file = {}, .field = field, .offset = {}, .hint = {}});
  }
  spans = std::move(found);
}

}  // namespace

void look_up_spans(Stack& stack, std::string_view text, std::span<const TokenPlace> tokens) {
  for (Intervention& intervention : stack) {
    look_up(intervention, "inputs.spans", intervention.inputs.spans, text, tokens);
    look_up(intervention, "inputs.other_spans", intervention.inputs.other_spans, text, tokens);
  }
}

}  // namespace headlight::intervention
