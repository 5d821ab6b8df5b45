#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/heads/head_id.h"

namespace headlight::heads {

struct HeadFacts;

/// An expression that names a set of heads, e.g. "role=retrieval & entropy<1.2 & layer>=10", "L3H* | L7H2",
/// "top(received0, 10%)":
///
///     expr   := term (('|' | ',') term)*            union
///     term   := fact ('&' fact)*                    intersection
///     fact   := '!' fact | '(' expr ')' | id | 'role=' name | 'primary=' name | 'set:' name
///             | metric op number | ('top' | 'bottom') '(' metric ',' n ['%'] ')'
///     id     := L3H7 | L3H* | L*H7 | L12G3 (the query heads of a KV head) | 3.7 | 3.* | *.7
///     op     := < | <= | > | >= | = | !=
///
/// A metric is the id of a statistic or of a score, or `layer` or `head`; names are letters, digits and _ - . :
/// `role=` holds for any label of a head, `primary=` for its first one. Undefined values compare false.
/// top(m, n) is the n heads with the largest defined value in the whole model, bottom(m, n) with the smallest; equal
/// values in the order of (layer, head); n% is rounded up.
class HeadExpression {
 public:
  /// Reads the syntax only; names are looked up by evaluate().
  /// @param field  what to call the text in errors, e.g. "--heads"
  /// @error invalid_argument  with field and offset: the byte where something else was expected
  static HeadExpression parse(std::string_view text, std::string field = "heads");

  const std::string& text() const { return text_; }
  /// Metrics, roles and sets need more than the sizes of a model.
  bool only_ids() const;

  struct Node;

 private:
  friend HeadMask evaluate(const HeadExpression&, const HeadFacts&);
  std::string text_, field_;
  std::shared_ptr<const Node> root_;
};

/// What an expression is evaluated against. Members may be empty: then naming such a thing is an error that says what
/// is missing.
struct HeadFacts {
  HeadGrid grid = {};
  std::vector<std::uint8_t> layer_known = {};  ///< [L] 1 = there; empty = all. An id of another layer is an error
  std::vector<std::string> metrics = {};       ///< ids that `metric` answers
  std::function<std::vector<double>(std::string_view id)> metric = {};  ///< [L][H], NaN = undefined
  std::vector<std::vector<std::string>> labels_lh = {};                 ///< [L][H], the first one is the primary role
  std::map<std::string, HeadMask, std::less<>> sets = {};
};

/// Heads for which the expression holds, [L][H]; heads of layers that are not known are never in it.
/// @error invalid_argument  with field and offset: a head outside the model, an unknown metric, role or set (naming
///        the closest one)
HeadMask evaluate(const HeadExpression& expression, const HeadFacts& facts);

/// parse() and evaluate() for text that may be empty: all heads.
HeadMask parse_heads(std::string_view text, const HeadFacts& facts, std::string field = "heads");

/// As parse_heads(), for exactly one head. @error invalid_argument
HeadId parse_one_head(std::string_view text, const HeadFacts& facts, std::string field = "head");

/// Heads in descending order of their value (ascending when `descending` is false), ties by (layer, head); undefined
/// values are left out.
std::vector<HeadId> ranked(const HeadGrid& grid, std::span<const double> value_lh, bool descending = true);

}  // namespace headlight::heads
