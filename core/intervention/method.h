#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "core/intervention/program.h"

namespace headlight::intervention {

/// A parameter of a method, declared once: the source of help, forms, checks and of the identity test.
struct Parameter {
  std::string_view name;
  Json fallback;                          ///< its type is the parameter's type
  double low = 0.0, high = 1.0;           ///< of numbers, both included
  bool logarithmic = false;               ///< how a slider moves
  std::string_view unit;                  ///< "1", "nat", "token"
  Json identity;                          ///< the value that changes nothing; null = there is none
  bool per_head = false;                  ///< may also be a list [L] or [L][H]
  std::vector<std::string_view> choices;  ///< of strings
  std::string_view doc;                   ///< one sentence
};

class Resolved;

/// One method. Its formulas are in the source file of `compile` and in docs/interventions.md.
struct Method {
  std::string_view id;  ///< kebab-case: "zero-tuning"
  std::string_view title;
  std::string_view formula;  ///< one line
  std::string_view source;   ///< title of the paper; empty = common practice
  std::string_view hook;     ///< where it acts: "head output", "logits", "weights", ...
  std::vector<Parameter> parameters;
  std::function<void(const Resolved& resolved, Program& program)> compile;
};

/// Every built-in method, in the order of the documentation.
const std::vector<Method>& methods();

/// @error invalid_argument  unknown
const Method& require_method(std::string_view id);

/// An enabled intervention with every parameter filled in, for one model and prompt.
class Resolved {
 public:
  /// @error invalid_argument  names intervention, parameter, expected and found
  Resolved(const Intervention& intervention, const ModelShape& shape, const PromptFacts& prompt);

  const Intervention& source() const { return source_; }
  const Method& method() const { return method_; }
  const ModelShape& shape() const { return shape_; }
  const PromptFacts& prompt() const { return prompt_; }

  /// Heads of the scope whose parameters are not the identity, ascending.
  const std::vector<HeadId>& heads() const { return heads_; }
  /// Absolute query rows of scope and phase.
  kernels::KeyRange rows() const;

  double number(std::string_view name, HeadId head) const;
  double number(std::string_view name) const;
  std::string text(std::string_view name) const;
  bool flag(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;

  /// Error{invalid_argument} about this intervention.
  [[noreturn]] void refuse(const std::string& field, const std::string& message) const;

 private:
  const Parameter& parameter(std::string_view name) const;
  const Json& value(const Parameter& parameter) const;
  void check_values() const;
  void check_number(const Parameter& parameter, const Json& json) const;
  void select_heads();
  bool is_identity(HeadId head) const;

  const Intervention& source_;
  const Method& method_;
  const ModelShape& shape_;
  const PromptFacts& prompt_;
  std::vector<HeadId> heads_;
};

// Groups of methods, each in methods_<group>.cpp.
std::vector<Method> head_output_methods();

}  // namespace headlight::intervention
