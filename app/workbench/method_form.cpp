#include "app/workbench/method_form.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "app/workbench/project.h"
#include "base/error.h"
#include "core/intervention/program.h"

namespace headlight::workbench {
namespace {

using intervention::Intervention;
using intervention::Method;
using intervention::Parameter;

constexpr double kManyTimes = 8.0;  // a positive range this wide is a range of ratios

double rounded(double value, int digits) {
  if (value == 0.0) return 0.0;
  const double step = std::pow(10.0, std::floor(std::log10(std::abs(value))) - (digits - 1));
  return std::round(value / step) * step;
}

FormField field_of(const Parameter& parameter) {
  FormField field;
  field.name = parameter.name;
  field.doc = parameter.doc;
  field.low = parameter.low;
  field.high = parameter.high;
  field.fallback = parameter.fallback;
  field.identity = parameter.identity;
  for (const auto choice : parameter.choices) field.choices.emplace_back(choice);
  if (parameter.fallback.is_string()) field.kind = FormField::Kind::choice;
  if (parameter.fallback.is_boolean()) field.kind = FormField::Kind::flag;
  if (parameter.fallback.is_number_integer()) field.kind = FormField::Kind::integer;
  if (field.kind != FormField::Kind::number) return field;
  field.logarithmic = field.low > 0.0 && field.high / field.low >= kManyTimes;
  if (field.identity.is_number()) {
    const double share = (field.identity.get<double>() - field.low) / (field.high - field.low);
    if (!field.logarithmic && share > 0.0 && share < 1.0) field.exponent = std::log(share) / std::log(0.5);
  }
  return field;
}

/// A value that is not the identity, so that compiling the method gets as far as it can.
Json telling_value(const Parameter& parameter) {
  if (parameter.identity.is_number() && parameter.fallback == parameter.identity) return parameter.high;
  return parameter.fallback;
}

MethodEntry entry_of(const Method& method) {
  MethodEntry entry{
      std::string(method.id), std::string(method.title), std::string(method.formula), std::string(method.source), false,
      method.needs_source};
  Intervention probe;
  probe.id = probe.method = entry.id;
  for (const Parameter& parameter : method.parameters)
    probe.params[std::string(parameter.name)] = telling_value(parameter);
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      intervention::compile(std::vector{probe}, {1, 1, 1, 2, 2}, {.num_tokens = 16});
      return entry;
    } catch (const Error& error) {
      if (error.context().field == "inputs.spans") {
        entry.needs_spans = true;
        probe.inputs.spans = {{1, 2, {}}};
      } else {
        entry.needs_values = true;
        return entry;
      }
    }
  }
  return entry;
}

}  // namespace

double FormField::position(double value) const {
  if (!(high > low)) return 0.0;
  value = std::clamp(value, low, high);
  if (logarithmic) return std::log(value / low) / std::log(high / low);
  return std::pow((value - low) / (high - low), 1.0 / exponent);
}

double FormField::value(double position) const {
  position = std::clamp(position, 0.0, 1.0);
  const double value =
      logarithmic ? low * std::pow(high / low, position) : low + (high - low) * std::pow(position, exponent);
  if (kind == Kind::integer) return std::round(value);
  // Two decimals of the range where that is fine enough, so that a slider stops at round numbers.
  const double step = high - low > 2.0 ? 0.01 : 0.001;
  const double even = std::round(value / step) * step;
  return std::clamp(logarithmic ? rounded(value, 3) : rounded(even, 6), low, high);
}

std::vector<FormField> form_of(const Method& method) {
  std::vector<FormField> fields;
  for (const Parameter& parameter : method.parameters) fields.push_back(field_of(parameter));
  return fields;
}

Json field_value(const Intervention& intervention, const FormField& field) {
  return intervention.params.value(field.name, field.fallback);
}

void set_field(Intervention& intervention, const FormField& field, const Json& value) {
  if (value == field.fallback)
    intervention.params.erase(field.name);
  else
    intervention.params[field.name] = value;
}

const std::vector<MethodEntry>& method_entries() {
  static const std::vector<MethodEntry> entries = [] {
    std::vector<MethodEntry> list;
    for (const Method& method : intervention::methods()) list.push_back(entry_of(method));
    return list;
  }();
  return entries;
}

Intervention new_intervention(const std::string& method, const intervention::Stack& stack,
                              std::vector<intervention::HeadId> heads) {
  Intervention made;
  made.method = method;
  made.id = unused_id(stack, method);
  made.scope.heads = std::move(heads);
  return made;
}

std::string scope_text(const intervention::Scope& scope) {
  std::string text;
  if (!scope.heads.empty()) {
    if (scope.heads.size() > 4) {
      text = fmt::format("{} heads", scope.heads.size());
    } else {
      for (const auto head : scope.heads) text += (text.empty() ? "" : ", ") + heads::to_string(head);
    }
  } else if (!scope.heads_expression.empty()) {
    text = scope.heads_expression;
  } else if (!scope.layers.empty()) {
    const bool run = scope.layers.back() - scope.layers.front() + 1 == std::ssize(scope.layers);
    text = scope.layers.size() == 1 ? fmt::format("layer {}", scope.layers[0])
           : run                    ? fmt::format("layers {}-{}", scope.layers.front(), scope.layers.back())
                                    : fmt::format("{} layers", scope.layers.size());
  } else {
    text = "all heads";
  }
  switch (scope.rows.kind) {
    case intervention::RowScope::Kind::all:
      break;
    case intervention::RowScope::Kind::last:
      text += ", last row";
      break;
    case intervention::RowScope::Kind::generated:
      text += ", generated rows";
      break;
    case intervention::RowScope::Kind::range:
      text += fmt::format(", rows {}-{}", scope.rows.begin, scope.rows.end - 1);
      break;
  }
  return text;
}

}  // namespace headlight::workbench
