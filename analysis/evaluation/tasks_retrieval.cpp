#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "analysis/evaluation/task_words.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

std::int64_t number_of(std::string_view variant) {
  std::int64_t number = 0;
  std::from_chars(variant.data(), variant.data() + variant.size(), number);
  return number;
}

/// A frame up to its second place: "k7f: lemon" to "k7f:".
std::string beginning(std::string_view frame, std::string_view first) {
  std::string text = filled(frame.substr(0, frame.find("{1}")), {first});
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

/// Eight words that stand for four labels, and one of the words again.
TaskItem mapping(const TaskSource& source, std::string_view) {
  const Frame frame = pick_frame(source, "mapping.templates");
  const auto words = pick_some(source.lexicon.words("objects", source.split), 8, source.random);
  auto labels = source.lexicon.words("mapping.labels", source.split);
  labels = pick_some(labels, std::min<std::size_t>(4, labels.size()), source.random);
  TaskItem item;
  item.template_id = frame.id;
  const auto asked = static_cast<std::size_t>(source.random.below(words.size()));
  for (std::size_t k = 0; k < words.size(); ++k) {
    const std::string line = filled(frame.text, {words[k], labels[k % labels.size()]});
    if (k == asked) item.evidence = line;
    if (k == (asked + 1) % words.size()) item.decoy = line;
    item.prompt += line + "\n";
  }
  item.prompt += beginning(frame.text, words[asked]);
  const std::string gold = labels[asked % labels.size()];
  std::erase(labels, gold);
  set_options(item, gold, labels, source.index);
  return item;
}

std::string short_key(SplitMix64& random) {
  constexpr std::string_view kLetters = "bcdfghjkmnpqrstvwxz", kDigits = "23456789";
  const auto letter = [&] { return kLetters[static_cast<std::size_t>(random.below(kLetters.size()))]; };
  const char first = letter(), digit = kDigits[static_cast<std::size_t>(random.below(kDigits.size()))];
  return {first, digit, letter()};
}

/// Lines "k7f: lemon", one of which is asked for; the other options are values of other lines.
TaskItem key_value(const TaskSource& source, std::string_view variant) {
  const Frame frame = pick_frame(source, "key-value.templates");
  const auto words = source.lexicon.words("objects", source.split);
  const auto lines = std::min(static_cast<std::size_t>(number_of(variant)), words.size());
  const auto values = pick_some(words, lines, source.random);
  std::vector<std::string> keys;
  while (keys.size() < lines) {
    std::string key = short_key(source.random);
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
  }
  const auto asked = static_cast<std::size_t>(source.random.below(lines));
  const auto decoy = (asked + 1 + static_cast<std::size_t>(source.random.below(lines - 1))) % lines;
  TaskItem item;
  item.template_id = frame.id;
  item.meta["lines"] = lines;
  item.meta["asked"] = asked;
  for (std::size_t k = 0; k < lines; ++k) {
    const std::string line = filled(frame.text, {keys[k], values[k]});
    if (k == asked) item.evidence = line;
    if (k == decoy) item.decoy = line;
    item.prompt += line + "\n";
  }
  item.prompt += beginning(frame.text, keys[asked]);
  std::vector<std::string> others = values;
  std::erase(others, values[asked]);
  set_options(item, values[asked], pick_some(others, 3, source.random), source.index);
  return item;
}

/// Random tokens, the same again up to some place: which one follows?
TaskItem copy(const TaskSource& source, std::string_view) {
  constexpr std::size_t kPeriod = 16;
  std::vector<std::int32_t> ids(source.tokens.begin(), source.tokens.end());
  const std::size_t period = std::min(kPeriod, ids.size());
  if (period < 6)
    throw Error(Errc::invalid_argument, fmt::format("task 'copy' needs 6 different tokens, found {}", ids.size()));
  for (std::size_t k = 0; k < period; ++k)  // the first steps of a shuffle
    std::swap(ids[k], ids[k + static_cast<std::size_t>(source.random.below(ids.size() - k))]);
  ids.resize(period);
  TaskItem item;
  item.template_id = fmt::format("copy/{}", to_string(source.split));
  item.meta["period"] = period;
  if (source.bos) item.prompt_ids.push_back(*source.bos);
  item.prompt_ids.insert(item.prompt_ids.end(), ids.begin(), ids.end());
  const std::size_t again = 2 + static_cast<std::size_t>(source.random.below(period - 2));  // tokens of the repeat
  item.prompt_ids.insert(item.prompt_ids.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(again));
  const std::int32_t gold = ids[again];
  std::erase(ids, gold);
  std::erase(ids, item.prompt_ids.back());
  source.random.shuffle(ids);
  item.gold = source.index % 4;
  for (std::size_t k = 0; k < 3; ++k) item.option_ids.push_back({ids[k]});
  item.option_ids.insert(item.option_ids.begin() + static_cast<std::ptrdiff_t>(item.gold), {gold});
  return item;
}

std::string filler_sentence(const TaskSource& source) {
  SplitMix64& random = source.random;
  const auto adjectives = source.lexicon.words("filler.adjectives", source.split);
  const auto nouns = pick_some(source.lexicon.words("filler.nouns", source.split), 2, random);
  const auto verbs = source.lexicon.words("filler.verbs", source.split);
  return fmt::format("The {} {} {} the {} {}.", pick(adjectives, random), nouns[0], pick(verbs, random),
                     pick(adjectives, random), nouns[1]);
}

/// A fact about a name somewhere in a text about nothing, beside facts about three others.
TaskItem needle(const TaskSource& source, std::string_view variant) {
  constexpr double kTokensPerSentence = 8.5;
  const Frame frame = pick_frame(source, "needle.templates");
  const auto names = pick_some(source.lexicon.words("names", source.split), 4, source.random);
  const auto words = pick_some(source.lexicon.words("objects", source.split), 4, source.random);
  const auto sentences = static_cast<std::size_t>(static_cast<double>(number_of(variant)) / kTokensPerSentence) - 5;
  std::vector<std::string> text;
  for (std::size_t k = 0; k < sentences; ++k) text.push_back(filler_sentence(source));
  TaskItem item;
  item.template_id = frame.id;
  for (std::size_t k = 4; k-- > 0;) {
    const std::string fact = filled(frame.text, {names[k], words[k]});
    const auto at = static_cast<std::size_t>(source.random.below(text.size() + 1));
    text.insert(text.begin() + static_cast<std::ptrdiff_t>(at), fact);
    if (k == 1) item.decoy = fact;
    if (k == 0) {
      item.evidence = fact;
      item.meta["depth"] = static_cast<double>(at) / static_cast<double>(text.size() - 1);
    }
  }
  for (const auto& sentence : text) item.prompt += sentence + " ";
  item.prompt += "\n" + beginning(frame.text, names[0]);
  set_options(item, words[0], {words[1], words[2], words[3]}, source.index);
  return item;
}

/// What the text says against what everybody knows.
TaskItem override_fact(const TaskSource& source, std::string_view) {
  const Frame frame = pick_frame(source, "override.templates");
  const auto [thing, usual] = pick(source.lexicon.pairs("facts.colours", source.split), source.random);
  auto colours = source.lexicon.words("colours", source.split);
  std::erase(colours, usual);
  const auto told = pick(colours, source.random);
  const auto fillers = pick_some(source.lexicon.words("override.fillers", source.split), 2, source.random);
  TaskItem item;
  item.template_id = frame.id;
  item.prompt = filled(frame.text, {thing, told, fillers[0] + " " + fillers[1]});
  const auto at = item.prompt.find(thing);
  item.evidence = item.prompt.substr(at, item.prompt.find('.', at) - at);
  item.decoy = fillers[0];
  set_options(item, told, {usual}, source.index);
  item.meta["usual"] = usual;
  return item;
}

}  // namespace

std::vector<Task> retrieval_tasks() {
  return {
      {.id = "mapping",
       .number = "T3",
       .title = "arbitrary mapping learned in the context",
       .chance = 0.25,
       .labels = true,
       .variants = {"8-pairs"},
       .make = mapping},
      {.id = "key-value",
       .number = "T4",
       .title = "value of a key in a list",
       .chance = 0.25,
       .variants = {"10", "5", "20", "32"},
       .make = key_value},
      {.id = "copy",
       .number = "T5",
       .title = "next token of a repeated random sequence",
       .chance = 0.25,
       .by_tokens = true,
       .labels = true,
       .variants = {"16"},
       .make = copy},
      {.id = "override",
       .number = "T10",
       .title = "the text contradicts a known fact",
       .chance = 0.5,
       .variants = {"colours"},
       .make = override_fact},
      {.id = "needle",
       .number = "T11",
       .title = "a fact hidden in a long text",
       .chance = 0.25,
       .variants = {"256", "512", "1024", "2048", "4096"},
       .make = needle},
  };
}

}  // namespace headlight::analysis
