#include "analysis/evaluation/task.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "analysis/evaluation/task_words.h"
#include "base/closest_match.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::string_view kSplits[] = {"calibration", "selection", "test"};

/// Items drawn in vain, one after the other, before the words of a split count as used up.
constexpr int kMostRepeats = 200;

Split split_of_place(std::size_t place) {
  return place % 4 == 0 ? Split::calibration : place % 4 == 1 ? Split::selection : Split::test;
}

/// What makes an item: not its options, which could be varied without end.
std::string fingerprint(const TaskItem& item) {
  std::string text = item.prompt;
  for (const auto id : item.prompt_ids) text += fmt::format(" {}", id);
  return text;
}

}  // namespace

std::string_view to_string(Split split) {
  return kSplits[static_cast<std::size_t>(split)];
}

Split parse_split(std::string_view name) {
  for (std::size_t k = 0; k < std::size(kSplits); ++k)
    if (kSplits[k] == name) return static_cast<Split>(k);
  throw Error(Errc::invalid_argument, fmt::format("'{}' is no split: calibration, selection or test", name));
}

Json to_json(const TaskItem& item, Split split) {
  Json json = {{"schema", "headlight.task/1"}, {"id", item.id},     {"prompt", item.prompt},
               {"options", item.options},      {"gold", item.gold}, {"template_id", item.template_id},
               {"split", to_string(split)},    {"meta", item.meta}};
  if (!item.prompt_ids.empty()) {
    json["prompt_ids"] = item.prompt_ids;
    json["option_ids"] = item.option_ids;
  }
  if (!item.evidence.empty()) json["evidence"] = item.evidence;
  return json;
}

Lexicon::Lexicon(const Json& json) {
  if (json_string(json, "schema") != "headlight.words/1")
    throw Error(Errc::bad_version, "schema: expected headlight.words/1, found " + json_string(json, "schema"));
  version_ = json_integer(json, "version");
  const Json* lists = json_find(json, "lists");
  if (lists == nullptr || !lists->is_object()) throw Error(Errc::bad_format, "lists: expected an object");
  lists_ = *lists;
}

std::vector<Json> Lexicon::share(std::string_view list, Split split) const {
  const Json* all = json_find(lists_, list, "lists");
  if (all == nullptr || !all->is_array()) throw Error(Errc::bad_format, fmt::format("lists.{}: expected a list", list));
  std::vector<Json> share;
  for (std::size_t k = 0; k < all->size(); ++k)
    if (split_of_place(k) == split) share.push_back((*all)[k]);
  if (share.empty()) throw Error(Errc::bad_format, fmt::format("lists.{}: too short to be shared out", list));
  return share;
}

std::vector<std::string> Lexicon::words(std::string_view list, Split split) const {
  std::vector<std::string> words;
  for (const Json& word : share(list, split)) {
    if (!word.is_string()) throw Error(Errc::bad_format, fmt::format("lists.{}: expected words", list));
    words.push_back(word.get<std::string>());
  }
  return words;
}

std::vector<std::pair<std::string, std::string>> Lexicon::pairs(std::string_view list, Split split) const {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const Json& pair : share(list, split)) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      throw Error(Errc::bad_format, fmt::format("lists.{}: expected pairs of words", list));
    pairs.emplace_back(pair[0].get<std::string>(), pair[1].get<std::string>());
  }
  return pairs;
}

std::string filled(std::string_view frame, std::initializer_list<std::string_view> words) {
  std::string text;
  for (std::size_t k = 0; k < frame.size(); ++k) {
    const bool place = frame[k] == '{' && k + 2 < frame.size() && frame[k + 2] == '}';
    if (!place) {
      text += frame[k];
      continue;
    }
    const auto word = static_cast<std::size_t>(frame[k + 1] - '0');
    HEADLIGHT_CHECK(word < words.size());
    text += *(words.begin() + word);
    k += 2;
  }
  return text;
}

std::vector<std::string> pick_some(std::vector<std::string> items, std::size_t count, SplitMix64& random) {
  if (items.size() < count)
    throw Error(Errc::invalid_argument,
                fmt::format("a task needs {} different words, its list has {}", count, items.size()));
  random.shuffle(items);
  items.resize(count);
  return items;
}

Frame pick_frame(const TaskSource& source, std::string_view list) {
  const auto frames = source.lexicon.words(list, source.split);
  const auto k = static_cast<std::size_t>(source.random.below(frames.size()));
  return {frames[k], fmt::format("{}/{}/{}", list, to_string(source.split), k)};
}

void set_options(TaskItem& item, std::string gold, std::vector<std::string> others, std::uint64_t index) {
  item.gold = static_cast<std::size_t>(index % (others.size() + 1));
  item.options.clear();
  for (const auto& other : others) item.options.push_back(" " + other);
  item.options.insert(item.options.begin() + static_cast<std::ptrdiff_t>(item.gold), " " + gold);
}

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = [] {
    std::vector<Task> list;
    for (const auto& group : {label_tasks(), retrieval_tasks(), language_tasks()})
      list.insert(list.end(), group.begin(), group.end());
    const auto number = [](const Task& task) { return std::stoi(std::string(task.number.substr(1))); };
    std::sort(list.begin(), list.end(), [&](const Task& a, const Task& b) { return number(a) < number(b); });
    return list;
  }();
  return all;
}

const Task& require_task(std::string_view name) {
  std::vector<std::string> known;
  std::string list;
  for (const Task& task : tasks()) {
    if (task.id == name || task.number == name) return task;
    known.emplace_back(task.id);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  const std::string closest = closest_match(name, known);
  throw Error(Errc::invalid_argument,
              fmt::format("'{}' is no task{}; there are {}", name,
                          closest.empty() ? "" : fmt::format(" (did you mean '{}'?)", closest), list));
}

std::vector<TaskItem> make_items(const Task& task, std::string_view variant, const Lexicon& lexicon, Split split,
                                 std::size_t count, std::uint64_t seed, std::span<const std::int32_t> tokens,
                                 std::optional<std::int32_t> bos) {
  if (variant.empty()) variant = task.variants.front();
  if (std::find(task.variants.begin(), task.variants.end(), variant) == task.variants.end()) {
    std::string list;
    for (const auto known : task.variants) list += (list.empty() ? "" : ", ") + std::string(known);
    throw Error(Errc::invalid_argument,
                fmt::format("task '{}' has no variant '{}'; there are {}", task.id, variant, list));
  }
  std::vector<TaskItem> items;
  std::set<std::string> seen;
  const std::string kind = fmt::format("{}/{}", task.id, to_string(split));
  std::uint64_t draw = 0;
  for (int repeats = 0; items.size() < count && repeats < kMostRepeats; ++draw) {
    SplitMix64 random = SplitMix64::stream(seed, kind, draw);
    // The place in the list decides the place of the gold option, so that what is thrown away does not unbalance it.
    TaskItem item = task.make({lexicon, split, seed, items.size(), draw, random, tokens, bos}, variant);
    if (!seen.insert(fingerprint(item)).second) {
      ++repeats;
      continue;
    }
    repeats = 0;
    item.id = fmt::format("{}/{}", kind, items.size());
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace headlight::analysis
