#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "core/heads/head_id.h"

namespace headlight::intervention {

using heads::HeadId;

/// Which query rows an intervention acts on, counted from the first token of the sequence. P = tokens of the prompt.
struct RowScope {
  enum class Kind {
    all,
    last,       ///< the last row of the prompt and every generated row: those that predict new tokens
    generated,  ///< rows >= P
    range,      ///< rows [begin, end)
  };
  Kind kind = Kind::all;
  std::int64_t begin = 0, end = 0;
  bool operator==(const RowScope&) const = default;
};

enum class Phase { both, prefill, decode };  ///< prefill = rows < P

/// Where an intervention acts.
struct Scope {
  std::vector<int> layers;    ///< empty = all
  int layers_of = 0;          ///< L' > 0: layers are those of a model of L' layers; l means round(l (L - 1) / (L' - 1))
  std::vector<HeadId> heads;  ///< empty = as the expression says; without one, all heads of the layers
  std::string heads_expression;  ///< of ids, "L3H* | L7H2"; what `heads` was resolved from where that is given
  RowScope rows;
  Phase phase = Phase::both;
  bool operator==(const Scope&) const = default;

  /// Neither layers nor heads are named: a method may choose its own.
  bool is_open() const { return layers.empty() && heads.empty() && heads_expression.empty(); }
};

/// Numbers that belong to one head: a vector [d], or one vector for every row [rows][d].
struct HeadValues {
  HeadId head;
  std::vector<float> values;
  bool operator==(const HeadValues&) const = default;
};

/// A vector that belongs to the residual stream entering a layer, [hidden_size].
struct LayerValues {
  int layer = 0;
  std::vector<float> values;
  bool operator==(const LayerValues&) const = default;
};

/// Token positions [begin, end), or a text of the prompt that is found there when the prompt is known.
struct Span {
  std::int64_t begin = -1, end = -1;
  std::string text;  ///< empty = given by positions
  bool operator==(const Span&) const = default;
};

/// Side inputs.
struct Inputs {
  std::vector<Span> spans;
  std::vector<Span> other_spans;  ///< a second set of tokens: of methods that have two
  std::vector<HeadValues> head_values;
  std::vector<LayerValues> layer_values;
  std::vector<std::int32_t> source_ids;  ///< tokens of the sequence that activations are taken from
  std::vector<int> sink_dims;            ///< dimensions of the residual stream that are massive at sink tokens
  std::vector<int> neurons;              ///< hidden units of the feed-forward
  bool operator==(const Inputs&) const = default;
};

/// One change of a forward pass. What a method derives from it (program, needs, identity) is never stored.
struct Intervention {
  std::string id;      ///< unique in a stack
  std::string method;  ///< kebab-case: "zero-tuning"
  int version = 1;
  bool enabled = true;
  Scope scope;
  Json params =
      Json::object();  ///< only what differs from the method's defaults; a number, [L] or [L][H] where declared
  Inputs inputs;
  std::string compat = "paper";  ///< or "repo": what the published code does where it differs from the text
};

/// Applied in order.
using Stack = std::vector<Intervention>;

/// Output of the heads times `scale`, before the output projection; 0 = knock-out.
/// @param heads  empty = all heads of the model
Intervention scale_heads(std::vector<HeadId> heads, double scale);
inline Intervention ablate_heads(std::vector<HeadId> heads) {
  return scale_heads(std::move(heads), 0.0);
}

/// Tokens [begin, end) are invisible to the heads, and rows sum to 1 without them; rows that see nothing else stay.
/// @param heads  empty = all heads of the model
Intervention mask_keys(std::int64_t begin, std::int64_t end, std::vector<HeadId> heads = {});

/// Output of the heads replaced by a vector [d] each: mean ablation when the vectors are means over a corpus.
Intervention replace_heads(std::vector<HeadValues> vectors);

}  // namespace headlight::intervention
