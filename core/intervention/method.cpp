#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/heads/head_set.h"
#include "core/intervention/registry.h"

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

namespace {

std::vector<Method>& method_list() {
  static std::vector<Method> all = [] {
    std::vector<Method> list;
    for (auto group : {head_output_methods(), score_methods(), weight_methods(), span_methods(), block_methods()})
      for (Method& method : group) list.push_back(std::move(method));
    return list;
  }();
  return all;
}

}  // namespace

const std::vector<Method>& methods() {
  return method_list();
}

void register_method(Method method) {
  for (const Method& known : method_list())
    if (known.id == method.id) throw Error(Errc::bad_format, fmt::format("there is a method '{}' already", method.id));
  method_list().push_back(std::move(method));
}

const Method& require_method(std::string_view id) {
  std::string known;
  for (const Method& method : methods()) {
    if (method.id == id) return method;
    known += (known.empty() ? "" : ", ") + std::string(method.id);
  }
  throw Error(Errc::invalid_argument, fmt::format("unknown method '{}'; there are: {}", id, known));
}

Parameter number_parameter(std::string_view name, double fallback, double low, double high, Json identity,
                           std::string_view doc) {
  Parameter out;
  out.name = name;
  out.fallback = fallback;
  out.low = low;
  out.high = high;
  out.identity = std::move(identity);
  out.per_head = true;
  out.doc = doc;
  return out;
}

Parameter integer_parameter(std::string_view name, std::int64_t fallback, std::int64_t low, std::int64_t high,
                            std::string_view doc) {
  Parameter out;
  out.name = name;
  out.fallback = fallback;
  out.low = static_cast<double>(low);
  out.high = static_cast<double>(high);
  out.doc = doc;
  return out;
}

Parameter choice_parameter(std::string_view name, std::vector<std::string_view> choices, std::string_view doc) {
  Parameter out;
  out.name = name;
  out.fallback = std::string(choices.front());
  out.choices = std::move(choices);
  out.doc = doc;
  return out;
}

Parameter switch_parameter(std::string_view name, std::string_view doc) {
  Parameter out = flag_parameter(name, true, doc);
  out.identity = false;
  return out;
}

Parameter flag_parameter(std::string_view name, bool fallback, std::string_view doc) {
  Parameter out;
  out.name = name;
  out.fallback = fallback;
  out.doc = doc;
  return out;
}

Resolved::Resolved(const Intervention& intervention, const ModelShape& shape, const PromptFacts& prompt)
    : source_(intervention), method_(require_method(intervention.method)), shape_(shape), prompt_(prompt) {
  if (source_.version != 1)
    refuse("version", fmt::format("expected version 1 of '{}', found {}", source_.method, source_.version));
  if (source_.compat != "paper" && source_.compat != "repo")
    refuse("compat", fmt::format("expected paper or repo, found '{}'", source_.compat));
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

kernels::RowStep Resolved::step(kernels::RowOp op) const {
  kernels::RowStep out;
  out.op = op;
  out.rows = rows();
  return out;
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
std::string Resolved::text(std::string_view name) const {
  return value(parameter(name)).get<std::string>();
}
bool Resolved::flag(std::string_view name) const {
  return value(parameter(name)).get<bool>();
}
std::int64_t Resolved::integer(std::string_view name) const {
  return value(parameter(name)).get<std::int64_t>();
}

std::vector<kernels::KeyRange> Resolved::spans() const {
  if (source_.inputs.spans.empty()) refuse("inputs.spans", fmt::format("'{}' needs a span of the prompt", method_.id));
  return ranges_of(source_.inputs.spans, "inputs.spans");
}

std::vector<kernels::KeyRange> Resolved::other_spans(bool required) const {
  const auto& given = source_.inputs.other_spans;
  if (required && given.empty())
    refuse("inputs.other_spans", fmt::format("'{}' needs a second span of the prompt", method_.id));
  auto others = ranges_of(given, "inputs.other_spans");
  for (const kernels::KeyRange& a : spans())
    for (const kernels::KeyRange& b : others)
      if (std::max(a.begin, b.begin) < std::min(a.end, b.end))
        refuse("inputs.other_spans",
               fmt::format("tokens {} to {} are in both sets", std::max(a.begin, b.begin), std::min(a.end, b.end)));
  return others;
}

std::vector<int> Resolved::changed_layers() const {
  std::vector<int> out;
  for (const HeadId head : heads_)
    if (out.empty() || out.back() != head.layer) out.push_back(head.layer);
  return out;
}

const std::vector<float>& Resolved::layer_values(int layer) const {
  const auto& all = source_.inputs.layer_values;
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const LayerValues& entry) { return entry.layer == layer; });
  if (found == all.end()) refuse("inputs.layer_values", fmt::format("there is no vector for layer {}", layer));
  if (found->values.size() != static_cast<std::size_t>(shape_.hidden_size))
    refuse("inputs.layer_values",
           fmt::format("expected {} numbers for layer {}, found {}", shape_.hidden_size, layer, found->values.size()));
  return found->values;
}

/// As token ranges, ascending and merged.
std::vector<kernels::KeyRange> Resolved::ranges_of(const std::vector<Span>& spans, const char* field) const {
  std::vector<kernels::KeyRange> out;
  for (const Span& span : spans) {
    if (span.begin < 0) refuse(field, fmt::format("'{}' was not looked up in the prompt", span.text));
    if (span.end <= span.begin || span.end > prompt_.num_tokens)
      refuse(field, fmt::format("tokens {} to {} are no span of a prompt of {} tokens", span.begin, span.end,
                                prompt_.num_tokens));
    out.push_back({span.begin, span.end});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<kernels::KeyRange> merged;
  for (const kernels::KeyRange& span : out) {
    if (!merged.empty() && span.begin <= merged.back().end)
      merged.back().end = std::max(merged.back().end, span.end);
    else
      merged.push_back(span);
  }
  return merged;
}

std::vector<kernels::KeyRange> Resolved::spans_or_first() const {
  return source_.inputs.spans.empty() ? std::vector<kernels::KeyRange>{{0, 1}} : spans();
}

const std::vector<float>& Resolved::head_values(HeadId head) const {
  const auto& all = source_.inputs.head_values;
  const auto found = std::find_if(all.begin(), all.end(), [&](const HeadValues& entry) { return entry.head == head; });
  if (found == all.end())
    refuse("inputs.head_values", fmt::format("there is no vector for head {}", heads::to_string(head)));
  const auto d = static_cast<std::size_t>(shape_.head_dim);
  if (found->values.empty() || found->values.size() % d != 0)
    refuse("inputs.head_values", fmt::format("expected vectors of {} numbers for head {}, found {} numbers", d,
                                             heads::to_string(head), found->values.size()));
  return found->values;
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

void Resolved::check_list(const Parameter& parameter, const Json& json) const {
  const std::string field = fmt::format("params.{}", parameter.name);
  if (!parameter.per_head) refuse(field, "expected one number, found a list");
  if (json.size() != static_cast<std::size_t>(shape_.num_layers))
    refuse(field, fmt::format("expected a value for each of {} layers, found {}", shape_.num_layers, json.size()));
  for (const Json& row : json) {
    if (row.is_array() && row.size() != static_cast<std::size_t>(shape_.num_heads))
      refuse(field, fmt::format("expected a value for each of {} heads, found {}", shape_.num_heads, row.size()));
    for (const Json& number : row.is_array() ? row : Json::array({row})) check_number(parameter, number);
  }
}

void Resolved::check_value(const Parameter& parameter, const Json& json) const {
  if (parameter.fallback.is_number())
    return json.is_array() ? check_list(parameter, json) : check_number(parameter, json);
  const std::string field = fmt::format("params.{}", parameter.name), found = dump_json(json, -1);
  if (parameter.fallback.is_boolean()) {
    if (!json.is_boolean()) refuse(field, fmt::format("expected true or false, found {}", found));
    return;
  }
  const bool known = json.is_string() && std::find(parameter.choices.begin(), parameter.choices.end(),
                                                   json.get<std::string>()) != parameter.choices.end();
  if (!known) refuse(field, fmt::format("expected one of {}, found {}", listed(parameter.choices), found));
}

void Resolved::check_values() const {
  if (source_.params.is_null()) return;
  if (!source_.params.is_object()) refuse("params", "expected an object");
  for (const auto& [name, json] : source_.params.items()) {
    const auto known = std::find_if(method_.parameters.begin(), method_.parameters.end(),
                                    [&](const Parameter& parameter) { return parameter.name == name; });
    if (known == method_.parameters.end())
      refuse(fmt::format("params.{}", name), fmt::format("'{}' has no parameter '{}'", method_.id, name));
    check_value(*known, json);
  }
}

bool Resolved::is_identity(HeadId head) const {
  const auto is_off = [&](const Parameter& parameter) { return entry(value(parameter), head) == parameter.identity; };
  const auto& all = method_.parameters;
  if (!method_.joint_identity)
    return std::any_of(all.begin(), all.end(), [&](const auto& p) { return !p.identity.is_null() && is_off(p); });
  return std::all_of(all.begin(), all.end(), [&](const auto& p) { return p.identity.is_null() || is_off(p); });
}

std::vector<int> Resolved::layers() const {
  const Scope& scope = source_.scope;
  std::vector<int> out = scope.layers;
  for (int& layer : out) {
    const int count = scope.layers_of > 0 ? scope.layers_of : shape_.num_layers;
    if (layer < 0 || layer >= count)
      refuse("scope.layers", fmt::format("layer {} does not exist, there are layers 0 to {}", layer, count - 1));
    if (scope.layers_of > 1)
      layer = static_cast<int>(std::lround(static_cast<double>(layer) * (shape_.num_layers - 1) / (count - 1)));
  }
  return out;
}

std::vector<HeadId> Resolved::named_heads() const {
  const Scope& scope = source_.scope;
  const heads::HeadGrid grid{shape_.num_layers, shape_.num_heads, shape_.num_kv_heads};
  for (const HeadId head : scope.heads)
    if (head.layer < 0 || head.layer >= shape_.num_layers || head.head < 0 || head.head >= shape_.num_heads)
      refuse("scope.heads", fmt::format("head {} does not exist, the model has {} layers of {} heads",
                                        heads::to_string(head), shape_.num_layers, shape_.num_heads));
  if (!scope.heads.empty()) return scope.heads;
  try {
    return heads::heads_of(grid, heads::parse_heads(scope.heads_expression, {.grid = grid}, "scope.heads"));
  } catch (const Error& error) {
    refuse("scope.heads", error.message());
  }
}

void Resolved::select_heads() {
  const std::vector<int> wanted = layers();
  heads_ = named_heads();
  std::sort(heads_.begin(), heads_.end());
  heads_.erase(std::unique(heads_.begin(), heads_.end()), heads_.end());
  std::erase_if(heads_, [&](HeadId head) {
    const bool elsewhere = !wanted.empty() && std::find(wanted.begin(), wanted.end(), head.layer) == wanted.end();
    return elsewhere || is_identity(head);
  });
}

}  // namespace headlight::intervention
