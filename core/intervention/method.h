#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/intervention/builder.h"

namespace headlight::intervention {

/// A parameter of a method, declared once: the source of help, forms, checks and of the identity test.
struct Parameter {
  std::string_view name;
  Json fallback;                          ///< its type is the parameter's type
  double low = 0.0, high = 1.0;           ///< of numbers, both included
  Json identity;                          ///< the value that changes nothing; null = there is none
  bool per_head = false;                  ///< may also be a list [L] or [L][H]
  std::vector<std::string_view> choices;  ///< of words
  std::string_view doc;                   ///< one sentence
};

Parameter number_parameter(std::string_view name, double fallback, double low, double high, Json identity,
                           std::string_view doc);
Parameter integer_parameter(std::string_view name, std::int64_t fallback, std::int64_t low, std::int64_t high,
                            std::string_view doc);
Parameter choice_parameter(std::string_view name, std::vector<std::string_view> choices, std::string_view doc);
/// On, and off is the identity.
Parameter switch_parameter(std::string_view name, std::string_view doc);
Parameter flag_parameter(std::string_view name, bool fallback, std::string_view doc);

class Resolved;

/// One method. Its formulas are beside `compile` and in docs/interventions.md.
struct Method {
  std::string_view id;  ///< kebab-case: "zero-tuning"
  std::string_view title;
  std::string_view formula;  ///< one line
  std::string_view source;   ///< title of the paper; empty = common practice
  std::string_view hook;     ///< where it acts: "head output", "scores", "weights", ...
  std::vector<Parameter> parameters;
  std::function<void(const Resolved& resolved, Builder& builder)> compile;
  bool joint_identity = false;  ///< only all identity values together change nothing; else each alone
  bool needs_source = false;    ///< its head values are the head outputs of Inputs::source_ids
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
  bool repo() const { return source_.compat == "repo"; }

  /// Heads of the scope whose parameters are not the identity, ascending.
  const std::vector<HeadId>& heads() const { return heads_; }
  /// Absolute query rows of scope and phase.
  kernels::KeyRange rows() const;
  /// A step on these rows.
  kernels::RowStep step(kernels::RowOp op) const;

  double number(std::string_view name, HeadId head) const;
  std::string text(std::string_view name) const;
  bool flag(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;

  /// The spans of the inputs as token ranges, ascending and merged. @error invalid_argument  none, empty, not looked
  /// up, or outside the prompt
  std::vector<kernels::KeyRange> spans() const;
  /// As spans(); the first token where none are given.
  std::vector<kernels::KeyRange> spans_or_first() const;
  /// The second set of tokens; may be empty where the method allows it. Disjoint from spans().
  std::vector<kernels::KeyRange> other_spans(bool required) const;
  /// Layers with a head in heads(), ascending.
  std::vector<int> changed_layers() const;
  /// The vector given for a layer. @error invalid_argument  none, or another length than the residual stream
  const std::vector<float>& layer_values(int layer) const;
  /// The numbers given for a head. @error invalid_argument  none, or not whole vectors
  const std::vector<float>& head_values(HeadId head) const;

  /// Error{invalid_argument} about this intervention.
  [[noreturn]] void refuse(const std::string& field, const std::string& message) const;

 private:
  const Parameter& parameter(std::string_view name) const;
  const Json& value(const Parameter& parameter) const;
  void check_values() const;
  void check_value(const Parameter& parameter, const Json& json) const;
  void check_number(const Parameter& parameter, const Json& json) const;
  void check_list(const Parameter& parameter, const Json& json) const;
  std::vector<kernels::KeyRange> ranges_of(const std::vector<Span>& spans, const char* field) const;
  std::vector<int> layers() const;
  std::vector<HeadId> named_heads() const;
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
std::vector<Method> score_methods();
std::vector<Method> weight_methods();
std::vector<Method> span_methods();
std::vector<Method> block_methods();

}  // namespace headlight::intervention
