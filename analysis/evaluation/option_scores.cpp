#include "analysis/evaluation/option_scores.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::string_view kForms[] = {"sum", "per_token", "per_char", "calibrated", "first"};
constexpr std::string_view kNeutralPrompt = "Answer:";
constexpr std::int64_t kChunkTokens = 1024;

std::size_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Code points.
double characters_of(std::string_view text) {
  return static_cast<double>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void add_text(PreparedItem& out, const TaskItem& item, const TaskCodec& codec) {
  if (!codec.encode)
    throw Error(Errc::unsupported,
                fmt::format("{} is made of text, the model has no tokenizer; task 'copy' needs none", item.id));
  TaskCodec::Tokens prompt = codec.encode(item.prompt);
  std::vector<std::vector<std::int32_t>> whole;
  std::size_t shared = prompt.ids.size();
  for (const auto& option : item.options) {
    whole.push_back(codec.encode(item.prompt + option).ids);
    shared = std::min({shared, common_prefix(prompt.ids, whole.back()), whole.back().size() - 1});
  }
  out.merged = shared < prompt.ids.size();
  prompt.ids.resize(shared);
  prompt.places.resize(shared);
  for (const auto& ids : whole)
    out.input.continuations.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(shared), ids.end());
  if (codec.bos) {
    prompt.ids.insert(prompt.ids.begin(), *codec.bos);
    prompt.places.insert(prompt.places.begin(), intervention::TokenPlace{});
  }
  if (prompt.ids.empty()) throw Error(Errc::invalid_argument, item.id + ": nothing of the prompt is left to read");
  out.input.ids = std::move(prompt.ids);
  out.places = std::move(prompt.places);
}

}  // namespace

bool acts_on_first_token(const intervention::Intervention& entry) {
  return entry.inputs.spans.empty() &&
         (entry.method == "zero-tuning" || entry.method == "key-ablation" || entry.method == "key-scale");
}

std::vector<PreparedItem> prepare_items(std::span<const TaskItem> items, const TaskCodec& codec) {
  std::vector<PreparedItem> prepared;
  for (const TaskItem& item : items) {
    PreparedItem out;
    out.item = &item;
    if (item.prompt_ids.empty()) {
      add_text(out, item, codec);
    } else {
      out.input = {item.prompt_ids, item.option_ids};
      out.places.resize(item.prompt_ids.size());
    }
    prepared.push_back(std::move(out));
  }
  return prepared;
}

Json to_json(const OptionScores& scores) {
  return {{"ll", scores.sum}, {"first", scores.first}, {"entropy", scores.entropy}, {"kl", scores.divergence}};
}

OptionScores option_scores_from_json(const Json& json) {
  const auto numbers = [&](std::string_view key) {
    const Json* list = json_find(json, key);
    if (list == nullptr || !list->is_array()) throw Error(Errc::bad_format, fmt::format("{}: expected a list", key));
    std::vector<double> values;
    for (const Json& value : *list) {
      if (!value.is_number()) throw Error(Errc::bad_format, fmt::format("{}: expected numbers", key));
      values.push_back(value.get<double>());
    }
    return values;
  };
  return {.sum = numbers("ll"),
          .first = numbers("first"),
          .entropy = json_number(json, "entropy"),
          .divergence = json_number(json, "kl")};
}

std::string_view to_string(ScoreForm form) {
  return kForms[static_cast<std::size_t>(form)];
}

ScoreForm primary_form(const Task& task) {
  return task.labels ? ScoreForm::sum : ScoreForm::per_token;
}

std::vector<double> option_values(const PreparedItem& item, const OptionScores& scores, ScoreForm form,
                                  std::span<const double> neutral) {
  if (form == ScoreForm::first) return scores.first;
  std::vector<double> values = scores.sum;
  for (std::size_t c = 0; c < values.size(); ++c) {
    if (form == ScoreForm::per_token) values[c] /= static_cast<double>(item.input.continuations[c].size());
    if (form == ScoreForm::per_char && !item.item->options.empty())
      values[c] /= std::max(1.0, characters_of(item.item->options[c]));
    if (form == ScoreForm::calibrated) values[c] -= neutral[c];
  }
  return values;
}

std::vector<std::vector<double>> neutral_scores(ModelRunner& runner, std::span<const PreparedItem> items,
                                                const TaskCodec& codec, std::stop_token stop) {
  ScoreInput neutral;
  if (codec.bos) neutral.ids.push_back(*codec.bos);
  if (codec.encode) {
    const auto ids = codec.encode(kNeutralPrompt).ids;
    neutral.ids.insert(neutral.ids.end(), ids.begin(), ids.end());
  }
  if (neutral.ids.empty()) neutral.ids.push_back(items.front().input.ids.front());
  std::map<std::vector<std::int32_t>, std::size_t> known;
  for (const PreparedItem& item : items)
    for (const auto& option : item.input.continuations)
      if (known.emplace(option, known.size()).second) neutral.continuations.push_back(option);
  const auto found = runner.score(std::span(&neutral, 1), std::array{ScoreVariant{}}, stop)[0][0];
  std::vector<std::vector<double>> scores;
  for (const PreparedItem& item : items) {
    scores.emplace_back();
    for (const auto& option : item.input.continuations) {
      const auto& logprob = found.logprob[known.at(option)];
      scores.back().push_back(std::accumulate(logprob.begin(), logprob.end(), 0.0));
    }
  }
  return scores;
}

Verdict verdict_of(std::span<const double> values, std::size_t gold) {
  Verdict verdict;
  verdict.chosen = static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
  const double top = values[verdict.chosen];
  double other = -kInfinity, sum = 0;
  for (std::size_t c = 0; c < values.size(); ++c) {
    if (c != gold) other = std::max(other, values[c]);
    sum += std::exp(values[c] - top);
  }
  verdict.margin = values[gold] - other;
  verdict.right = verdict.margin > 0;
  verdict.tied = verdict.margin == 0;
  for (std::size_t c = 0; c < values.size(); ++c) {
    const double p = std::exp(values[c] - top) / sum, is_gold = c == gold ? 1.0 : 0.0;
    verdict.brier += (p - is_gold) * (p - is_gold);
    if (p > 0) verdict.option_entropy -= p * std::log(p);
  }
  return verdict;
}

intervention::Stack stack_of_item(const Arm& arm, const PreparedItem& item, std::size_t number) {
  intervention::Stack stack = arm.stack;
  for (intervention::Intervention& entry : stack) {
    for (intervention::Span& span : entry.inputs.spans) {
      const bool decoy = span.text == "{decoy}";
      if (!decoy && span.text != "{evidence}") continue;
      span.text = decoy ? item.item->decoy : item.item->evidence;
      if (span.text.empty())
        throw Error(Errc::invalid_argument, fmt::format("{}: the task marks no {} that '{}' could act on",
                                                        item.item->id, decoy ? "decoy" : "evidence", entry.id));
    }
    if (arm.span_of_item && acts_on_first_token(entry)) entry.inputs.spans = {arm.span_of_item(item, number)};
  }
  try {
    intervention::look_up_spans(stack, item.item->prompt, item.places);
  } catch (const Error& error) {
    throw Error(error.code(), item.item->id + ": " + error.message(), error.context());
  }
  return stack;
}

bool needs_items(const intervention::Stack& stack) {
  return std::any_of(stack.begin(), stack.end(), [](const intervention::Intervention& entry) {
    return entry.enabled && !entry.inputs.spans.empty();
  });
}

std::vector<std::vector<OptionScores>> score_items(ModelRunner& runner, std::span<const PreparedItem> items,
                                                   std::span<const Arm> arms, std::size_t first_number,
                                                   std::stop_token stop) {
  std::vector<ScoreInput> inputs;
  for (const PreparedItem& item : items) inputs.push_back(item.input);
  std::vector<ScoreVariant> variants;
  for (const Arm& arm : arms) {
    ScoreVariant variant;
    if (!needs_items(arm.stack) && !arm.span_of_item) {
      if (!arm.stack.empty()) variant.stacks.push_back(arm.stack);
    } else {
      for (std::size_t k = 0; k < items.size(); ++k)
        variant.stacks.push_back(stack_of_item(arm, items[k], first_number + k));
    }
    variants.push_back(std::move(variant));
  }
  std::vector<std::vector<OptionScores>> scores;
  for (const auto& outputs : runner.score(inputs, variants, stop)) {
    scores.emplace_back();
    for (const ScoreOutput& output : outputs) {
      OptionScores found{.sum = {}, .first = {}, .entropy = output.entropy, .divergence = output.divergence};
      for (const auto& logprob : output.logprob) {
        found.sum.push_back(std::accumulate(logprob.begin(), logprob.end(), 0.0));
        found.first.push_back(logprob.front());
      }
      scores.back().push_back(std::move(found));
    }
  }
  return scores;
}

std::vector<std::pair<std::size_t, std::size_t>> chunks_of(std::span<const PreparedItem> items) {
  std::vector<std::pair<std::size_t, std::size_t>> chunks;
  std::int64_t tokens = 0;
  for (std::size_t k = 0; k < items.size(); ++k) {
    std::int64_t more = std::ssize(items[k].input.ids);
    for (const auto& option : items[k].input.continuations) more += std::ssize(option) - 1;
    if (chunks.empty() || tokens + more > kChunkTokens) {
      chunks.emplace_back(k, k);
      tokens = 0;
    }
    tokens += more;
    chunks.back().second = k + 1;
  }
  return chunks;
}

}  // namespace headlight::analysis
