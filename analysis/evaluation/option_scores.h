#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/evaluation/task.h"
#include "core/intervention/intervention.h"
#include "core/intervention/intervention_file.h"
#include "core/runner.h"

namespace headlight::analysis {

/// A model's tokenizer, without special tokens; no function = a model without one.
struct TaskCodec {
  struct Tokens {
    std::vector<std::int32_t> ids;
    std::vector<intervention::TokenPlace> places;  ///< bytes of the text
  };
  std::function<Tokens(std::string_view)> encode;
  std::optional<std::int32_t> bos;  ///< put first; none = the model expects none
};

/// An item as the model reads it.
struct PreparedItem {
  const TaskItem* item = nullptr;
  ScoreInput input;                              ///< the prompt, and the options as continuations
  std::vector<intervention::TokenPlace> places;  ///< of the prompt's tokens
  /// Tokens of prompt and option together are not those of the prompt and then those of the option. Then the prompt
  /// ends where all of them still agree, and continuations begin there.
  bool merged = false;
};
/// What is returned points to the items.
/// @error unsupported  an item made of text for a model without a tokenizer
std::vector<PreparedItem> prepare_items(std::span<const TaskItem> items, const TaskCodec& codec);

/// What a model says about the options of an item.
struct OptionScores {
  std::vector<double> sum;    ///< LL_c = sum_t ln p(y_t | prompt, y_<t), nats
  std::vector<double> first;  ///< ln p(y_1 | prompt)
  double entropy = 0;         ///< of the distribution of the next token, nats
  double divergence = 0;      ///< KL(base || this) of it
};
Json to_json(const OptionScores& scores);
/// @error bad_format
OptionScores option_scores_from_json(const Json& json);

/// Ways to compare options of different lengths.
enum class ScoreForm {
  sum,         ///< LL
  per_token,   ///< LL / tokens
  per_char,    ///< LL / characters
  calibrated,  ///< LL - LL after the neutral prompt "Answer:", of the unchanged model
  first,       ///< first token only: labels may share it
};
std::string_view to_string(ScoreForm form);
/// The one that counts: sum for labels and letters, per_token for texts.
ScoreForm primary_form(const Task& task);

/// @param neutral  LL of the options after the neutral prompt; needed by `calibrated` only
std::vector<double> option_values(const PreparedItem& item, const OptionScores& scores, ScoreForm form,
                                  std::span<const double> neutral = {});

/// LL of every option after "Answer:". Items share options, which are scored once.
std::vector<std::vector<double>> neutral_scores(ModelRunner& runner, std::span<const PreparedItem> items,
                                                const TaskCodec& codec, std::stop_token stop);

/// An item under one condition.
struct Verdict {
  bool right = false;         ///< the gold option is above all others
  bool tied = false;          ///< another one is as high: counts as wrong
  std::size_t chosen = 0;     ///< the first of the highest
  double margin = 0;          ///< value of the gold option less the highest other
  double brier = 0;           ///< sum_c (p_c - [c is gold])^2, p = softmax of the values
  double option_entropy = 0;  ///< of p, nats
};
Verdict verdict_of(std::span<const double> values, std::size_t gold);

/// A condition under which items are scored.
struct Arm {
  std::string id;
  intervention::Stack stack;  ///< empty = the model as it is
  /// Keys that interventions on a token act on, for each item, in place of theirs: a control.
  std::function<intervention::Span(const PreparedItem&, std::size_t number)> span_of_item = {};
};

/// Whether an intervention acts on the first token because it names no other.
bool acts_on_first_token(const intervention::Intervention& entry);

/// The stack of one item. Spans with the text "{evidence}" or "{decoy}" become those words of the item, other texts are
/// looked up in its prompt.
/// @error invalid_argument  the item has no such words
intervention::Stack stack_of_item(const Arm& arm, const PreparedItem& item, std::size_t number);
/// Whether a stack takes spans from items: then it means nothing elsewhere.
bool needs_items(const intervention::Stack& stack);

/// [arm][item]. The divergence is from the first arm.
/// @param first_number  of the items in their list
std::vector<std::vector<OptionScores>> score_items(ModelRunner& runner, std::span<const PreparedItem> items,
                                                   std::span<const Arm> arms, std::size_t first_number,
                                                   std::stop_token stop);

/// [begin, end) of consecutive items that make a good load: about 1024 tokens.
std::vector<std::pair<std::size_t, std::size_t>> chunks_of(std::span<const PreparedItem> items);

}  // namespace headlight::analysis
