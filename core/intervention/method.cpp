#include "core/intervention/method.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::intervention {
namespace {

std::string_view type_name(const Json& json) {
  if (json.is_boolean()) return "true or false";
  if (json.is_number_integer()) return "an integer";
  if (json.is_number()) return "a number";
  return "a word";
}

std::string listed(const std::vector<std::string_view>& words) {
  std::string out;
  for (const auto word : words) out += (out.empty() ? "" : ", ") + std::string(word);
  return out;
}

/// Entry (l, h) of a number, a list [L] or a list [L][H].
const Json& entry(const Json& json, HeadId head) {
  if (!json.is_array()) return json;
  const Json& row = json.at(static_cast<std::size_t>(head.layer));
  return row.is_array() ? row.at(static_cast<std::size_t>(head.head)) : row;
}

}  // namespace

const std::vector<Method>& methods() {
  static const std::vector<Method> all = [] {
    std::vector<Method> list;
    for (auto group : {head_output_methods()})
      for (Method& method : group) list.push_back(std::move(method));
    return list;
  }();
  return all;
}

const Method& require_method(std::string_view id) {
  std::string known;
  for (const Method& method : methods()) {
    if (method.id == id) return method;
    known += (known.empty() ? "" : ", ") + std::string(method.id);
  }
  throw Error(Errc::invalid_argument, fmt::format("unknown method '{}'; there are: {}", id, known));
}

Resolved::Resolved(const Intervention& intervention, const ModelShape& shape, const PromptFacts& prompt)
    : source_(intervention), method_(require_method(intervention.method)), shape_(shape), prompt_(prompt) {
  if (source_.version != 1)
    refuse("version", fmt::format("expected version 1 of '{}', found {}", source_.method, source_.version));
  check_values();
  select_heads();
}

void Resolved::refuse(const std::string& field, const std::string& message) const {
  throw Error(Errc::invalid_argument, fmt::format("intervention '{}': {}", source_.id, message),
              {.file = {}, .field = field, .offset = {}, .hint = {}});
}

kernels::KeyRange Resolved::rows() const {
  const std::int64_t prompt = prompt_.num_tokens;
  kernels::KeyRange rows{0, kEndless};
  const RowScope& scope = source_.scope.rows;
  if (scope.kind == RowScope::Kind::last) rows.begin = std::max<std::int64_t>(0, prompt - 1);
  if (scope.kind == RowScope::Kind::generated) rows.begin = prompt;
  if (scope.kind == RowScope::Kind::range) rows = {scope.begin, scope.end};
  if (source_.scope.phase == Phase::prefill) rows.end = std::min(rows.end, prompt);
  if (source_.scope.phase == Phase::decode) rows.begin = std::max(rows.begin, prompt);
  return rows;
}

const Parameter& Resolved::parameter(std::string_view name) const {
  for (const Parameter& parameter : method_.parameters)
    if (parameter.name == name) return parameter;
  contract_violated("the method declares the parameter", __FILE__, __LINE__);
}

const Json& Resolved::value(const Parameter& parameter) const {
  const auto found = source_.params.find(std::string(parameter.name));
  return found == source_.params.end() ? parameter.fallback : *found;
}

double Resolved::number(std::string_view name, HeadId head) const {
  return entry(value(parameter(name)), head).get<double>();
}
double Resolved::number(std::string_view name) const {
  return value(parameter(name)).get<double>();
}
std::string Resolved::text(std::string_view name) const {
  return value(parameter(name)).get<std::string>();
}
bool Resolved::flag(std::string_view name) const {
  return value(parameter(name)).get<bool>();
}
std::int64_t Resolved::integer(std::string_view name) const {
  return value(parameter(name)).get<std::int64_t>();
}

void Resolved::check_number(const Parameter& parameter, const Json& json) const {
  const bool integer = parameter.fallback.is_number_integer();
  const std::string field = fmt::format("params.{}", parameter.name);
  if (!json.is_number() || (integer && !json.is_number_integer()))
    refuse(field, fmt::format("expected {}, found {}", type_name(parameter.fallback), dump_json(json, -1)));
  const double found = json.get<double>();
  if (!(found >= parameter.low && found <= parameter.high))
    refuse(field, fmt::format("expected {} to {}, found {}", parameter.low, parameter.high, found));
}

void Resolved::check_values() const {
  if (!source_.params.is_object()) refuse("params", "expected an object");
  for (const auto& [name, json] : source_.params.items()) {
    const std::string field = fmt::format("params.{}", name);
    const auto known = std::find_if(method_.parameters.begin(), method_.parameters.end(),
                                    [&](const Parameter& p) { return p.name == name; });
    if (known == method_.parameters.end()) refuse(field, fmt::format("'{}' has no parameter '{}'", method_.id, name));
    if (known->fallback.is_number()) {
      if (!json.is_array()) {
        check_number(*known, json);
        continue;
      }
      if (!known->per_head || json.size() != static_cast<std::size_t>(shape_.num_layers))
        refuse(field, known->per_head ? fmt::format("expected a value for each of {} layers, found {}",
                                                    shape_.num_layers, json.size())
                                      : "expected one number, found a list");
      for (const Json& row : json) {
        if (row.is_array() && row.size() != static_cast<std::size_t>(shape_.num_heads))
          refuse(field, fmt::format("expected a value for each of {} heads, found {}", shape_.num_heads, row.size()));
        for (const Json& number : row.is_array() ? row : Json::array({row})) check_number(*known, number);
      }
    } else if (known->fallback.is_boolean()) {
      if (!json.is_boolean()) refuse(field, fmt::format("expected true or false, found {}", dump_json(json, -1)));
    } else if (!json.is_string() || std::find(known->choices.begin(), known->choices.end(), json.get<std::string>()) ==
                                        known->choices.end()) {
      refuse(field, fmt::format("expected one of {}, found {}", listed(known->choices), dump_json(json, -1)));
    }
  }
}

bool Resolved::is_identity(HeadId head) const {
  return std::any_of(method_.parameters.begin(), method_.parameters.end(), [&](const Parameter& parameter) {
    return !parameter.identity.is_null() && entry(value(parameter), head) == parameter.identity;
  });
}

void Resolved::select_heads() {
  const Scope& scope = source_.scope;
  for (const int layer : scope.layers)
    if (layer < 0 || layer >= shape_.num_layers)
      refuse("scope.layers",
             fmt::format("layer {} does not exist, the model has layers 0 to {}", layer, shape_.num_layers - 1));
  for (const HeadId head : scope.heads)
    if (head.layer < 0 || head.layer >= shape_.num_layers || head.head < 0 || head.head >= shape_.num_heads)
      refuse("scope.heads", fmt::format("head L{}H{} does not exist, the model has {} layers of {} heads", head.layer,
                                        head.head, shape_.num_layers, shape_.num_heads));
  const auto in_layers = [&](int layer) {
    return scope.layers.empty() || std::find(scope.layers.begin(), scope.layers.end(), layer) != scope.layers.end();
  };
  std::vector<HeadId> wanted = scope.heads;
  if (wanted.empty())
    for (int l = 0; l < shape_.num_layers; ++l)
      for (int h = 0; h < shape_.num_heads; ++h) wanted.push_back({l, h});
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (const HeadId head : wanted)
    if (in_layers(head.layer) && !is_identity(head)) heads_.push_back(head);
}

}  // namespace headlight::intervention
