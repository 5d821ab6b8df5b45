#include <algorithm>
#include <array>
#include <tuple>

#include <fmt/format.h>

#include "analysis/evaluation/task_words.h"

namespace headlight::analysis {
namespace {

TaskItem ioi(const TaskSource& source, std::string_view) {
  const Frame frame = pick_frame(source, "ioi.templates");
  const auto names = pick_some(source.lexicon.words("names", source.split), 2, source.random);
  const auto places = source.lexicon.words("places", source.split), gifts = source.lexicon.words("gifts", source.split);
  TaskItem item;
  item.template_id = frame.id;
  item.prompt = filled(frame.text, {names[0], names[1], pick(places, source.random), pick(gifts, source.random)});
  set_options(item, names[0], {names[1]}, source.index);
  return item;
}

/// The noun between subject and verb has the other number in half of the items.
TaskItem agreement(const TaskSource& source, std::string_view) {
  const Frame frame = pick_frame(source, "agreement.templates");
  const auto nouns = source.lexicon.pairs("agreement.nouns", source.split);
  const auto subject = pick(nouns, source.random);
  auto between = pick(nouns, source.random);
  while (between == subject) between = pick(nouns, source.random);
  const bool plural = source.index % 2 == 1, between_plural = source.index / 2 % 2 == 1;
  TaskItem item;
  item.template_id = frame.id;
  item.prompt =
      filled(frame.text, {plural ? subject.second : subject.first, between_plural ? between.second : between.first});
  item.options = {" is", " are"};
  item.gold = plural ? 1 : 0;
  item.meta["attractor"] = plural != between_plural;
  return item;
}

struct FactKind {
  std::string_view list, frames, question;
};
constexpr std::array<FactKind, 4> kFacts = {{
    {"facts.capitals", "facts.capital-templates", "What is the capital of {0}?"},
    {"facts.opposites", "facts.opposite-templates", "What is the opposite of {0}?"},
    {"facts.plurals", "facts.plural-templates", "What is the plural of {0}?"},
    {"facts.colours", "facts.colour-templates", "What is the color of {0}?"},
}};

struct Fact {
  std::string thing, answer;
  std::vector<std::string> others;  ///< three answers to other questions of the kind
};
Fact pick_fact(const TaskSource& source, const FactKind& kind, SplitMix64& random) {
  const auto pairs = source.lexicon.pairs(kind.list, source.split);
  Fact fact;
  std::tie(fact.thing, fact.answer) = pick(pairs, random);
  std::vector<std::string> answers;
  for (const auto& [thing, answer] : pairs)
    if (answer != fact.answer && std::find(answers.begin(), answers.end(), answer) == answers.end())
      answers.push_back(answer);
  fact.others = pick_some(std::move(answers), 3, random);
  return fact;
}

TaskItem facts(const TaskSource& source, std::string_view) {
  const FactKind& kind = kFacts[static_cast<std::size_t>(source.random.below(kFacts.size()))];
  const Frame frame = pick_frame(source, kind.frames);
  const Fact fact = pick_fact(source, kind, source.random);
  TaskItem item;
  item.template_id = frame.id;
  item.prompt = filled(frame.text, {fact.thing});
  item.meta["kind"] = kind.list;
  set_options(item, fact.answer, fact.others, source.index);
  return item;
}

/// A fact with lettered options: four items after each other ask the same with the right one at A, B, C and D.
TaskItem position_bias(const TaskSource& source, std::string_view) {
  SplitMix64 random =
      SplitMix64::stream(source.seed, fmt::format("position-bias/{}", to_string(source.split)), source.draw / 4);
  const TaskSource question{
      .lexicon = source.lexicon, .split = source.split, .random = random, .tokens = {}, .bos = {}};
  const FactKind& kind = kFacts[static_cast<std::size_t>(random.below(kFacts.size()))];
  const Frame frame = pick_frame(question, "position-bias.templates");
  const Fact fact = pick_fact(question, kind, random);
  std::vector<std::string> answers = fact.others;
  answers.insert(answers.begin(), fact.answer);
  const std::size_t turn = source.draw % 4;
  const auto at = [&](std::size_t place) { return answers[(place + 4 - turn) % 4]; };
  TaskItem item;
  item.template_id = frame.id;
  item.prompt = filled(frame.text, {filled(kind.question, {fact.thing}), at(0), at(1), at(2), at(3)});
  item.options = {" A", " B", " C", " D"};
  item.gold = turn;
  item.meta["question"] = source.draw / 4;
  item.meta["kind"] = kind.list;
  return item;
}

}  // namespace

std::vector<Task> language_tasks() {
  return {
      {.id = "ioi",
       .number = "T6",
       .title = "indirect object: the name that was said once",
       .chance = 0.5,
       .variants = {"one-sentence"},
       .make = ioi},
      {.id = "agreement",
       .number = "T7",
       .title = "number of the verb behind a distracting noun",
       .chance = 0.5,
       .labels = true,
       .variants = {"minimal-pair"},
       .make = agreement},
      {.id = "facts",
       .number = "T8",
       .title = "capitals, opposites, plurals, colours",
       .chance = 0.25,
       .variants = {"text"},
       .make = facts},
      {.id = "position-bias",
       .number = "T9",
       .title = "facts with lettered options, in four rotations",
       .chance = 0.25,
       .labels = true,
       .variants = {"rotations"},
       .make = position_bias},
  };
}

}  // namespace headlight::analysis
