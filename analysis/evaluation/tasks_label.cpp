#include <fmt/format.h>

#include "analysis/evaluation/task_words.h"

namespace headlight::analysis {
namespace {

/// Solved examples before the question, named "4-shot", "2-shot", "0-shot".
std::size_t shots_of(std::string_view variant) {
  return static_cast<std::size_t>(variant.front() - '0');
}

/// Examples with labels, then the question: one frame for all, labels of the examples in turn.
template <class MakeText>
TaskItem labelled(const TaskSource& source, std::string_view variant, std::string_view list,
                  const std::vector<std::string>& labels, const MakeText& text) {
  const Frame frame = pick_frame(source, list);
  TaskItem item;
  item.template_id = frame.id;
  const std::size_t shots = shots_of(variant), turn = source.random.below(labels.size());
  for (std::size_t k = 0; k < shots; ++k) {
    const std::size_t label = (turn + k) % labels.size();
    item.prompt += text(frame.text, label) + " " + labels[label] + "\n\n";
  }
  item.gold = source.index % labels.size();
  item.prompt += text(frame.text, item.gold);
  for (const auto& label : labels) item.options.push_back(" " + label);
  return item;
}

TaskItem sentiment(const TaskSource& source, std::string_view variant) {
  const auto things = source.lexicon.words("sentiment.things", source.split);
  return labelled(source, variant, "sentiment.templates", {"positive", "negative"},
                  [&](const std::string& frame, std::size_t label) {
                    const auto words = pick_some(
                        source.lexicon.words(label == 0 ? "sentiment.positive" : "sentiment.negative", source.split), 2,
                        source.random);
                    return filled(frame, {pick(things, source.random), words[0], words[1]});
                  });
}

TaskItem topic(const TaskSource& source, std::string_view variant) {
  const std::vector<std::string> labels = {"sports", "food", "music", "weather"};
  return labelled(source, variant, "topic.templates", labels, [&](const std::string& frame, std::size_t label) {
    const auto words = pick_some(source.lexicon.words("topic." + labels[label], source.split), 2, source.random);
    return filled(frame, {words[0], words[1]});
  });
}

/// "Every cat in the park is asleep": then this cat is (true), is awake (false), is at the door (nobody knows).
TaskItem nli(const TaskSource& source, std::string_view variant) {
  const auto kinds = source.lexicon.words("nli.kinds", source.split);
  const auto places = source.lexicon.words("places", source.split);
  const auto traits = source.lexicon.pairs("nli.traits", source.split);
  return labelled(
      source, variant, "nli.templates", {"true", "false", "unknown"}, [&](const std::string& frame, std::size_t label) {
        SplitMix64& random = source.random;
        const auto kind = pick(kinds, random);
        const auto place = pick(places, random);
        auto [trait, opposite] = pick(traits, random);
        if (random.below(2) == 1) std::swap(trait, opposite);
        std::string about = kind;
        while (label == 2 && about == kind) about = pick(kinds, random);
        // Each label comes with two beginnings, each of them with the trait or its opposite: none gives it away.
        const bool same = random.below(2) == 1;
        const std::string_view beginning = label == 0 ? (same ? "Every" : "No")
                                           : label == 1
                                               ? (same ? "No" : "Some")
                                               : pick(std::vector<std::string_view>{"Every", "No", "Some"}, random);
        // Said with "not" at times, so that the label does not hang on that word; always where the claim would repeat
        // it.
        const bool denied = (label == 0 && same) || random.below(2) == 1;
        std::string premise =
            fmt::format("Every {} in the {} is {}{}.", kind, place, denied ? "not " : "", denied ? opposite : trait);
        const std::string claim =
            fmt::format("{} {} in the {} is {}.", beginning, about, place, same ? trait : opposite);
        return filled(frame, {premise, claim});
      });
}

}  // namespace

std::vector<Task> label_tasks() {
  const std::vector<std::string_view> shots = {"4-shot", "2-shot", "0-shot"};
  return {
      {.id = "sentiment",
       .number = "T1",
       .title = "sentiment of a review",
       .chance = 0.5,
       .labels = true,
       .variants = shots,
       .make = sentiment},
      {.id = "topic",
       .number = "T2",
       .title = "topic of a text",
       .chance = 0.25,
       .labels = true,
       .variants = shots,
       .make = topic},
      {.id = "nli",
       .number = "T12",
       .title = "does a sentence follow, with negations",
       .chance = 1.0 / 3.0,
       .labels = true,
       .variants = {"0-shot", "3-shot", "6-shot"},
       .make = nli},
  };
}

}  // namespace headlight::analysis
