#pragma once

#include <string>
#include <vector>

#include "core/intervention/intervention.h"
#include "core/intervention/method.h"

namespace headlight::workbench {

/// A control for one parameter of a method.
struct FormField {
  enum class Kind { number, integer, choice, flag, list };
  Kind kind = Kind::number;
  std::string name, doc;
  double low = 0.0, high = 1.0;  ///< numbers: what the method accepts and the slider spans
  bool logarithmic = false;      ///< the slider moves in ratios
  double exponent = 1.0;         ///< else value = low + (high - low) position^exponent: the identity is in the middle
  Json fallback, identity;       ///< identity null = there is none
  std::vector<std::string> choices;

  /// Slider position 0..1 of a value (clamped), and back. Integers are rounded, numbers keep 4 significant digits.
  double position(double value) const;
  double value(double position) const;
};

std::vector<FormField> form_of(const intervention::Method& method);

/// What the form shows for an intervention: its own value, else the method's default.
Json field_value(const intervention::Intervention& intervention, const FormField& field);
/// Sets a parameter; one that equals the default is not kept.
void set_field(intervention::Intervention& intervention, const FormField& field, const Json& value);

/// A method a person can add by a click, with what must be given first.
struct MethodEntry {
  std::string id, title, formula, source;
  bool needs_spans = false;   ///< refused without chosen tokens
  bool needs_values = false;  ///< needs vectors, dimensions or another text: comes from a file only
};
/// Every method, in the order of the documentation. What it needs is found by compiling it without.
const std::vector<MethodEntry>& method_entries();

/// An intervention on some heads with the default parameters of its method.
intervention::Intervention new_intervention(const std::string& method, const intervention::Stack& stack,
                                            std::vector<intervention::HeadId> heads);

/// One line of where it acts: "L3H7, L4H0", "12 heads", "all heads", "layers 0-7".
std::string scope_text(const intervention::Scope& scope);

}  // namespace headlight::workbench
