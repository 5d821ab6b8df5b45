#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/split_mix.h"

namespace headlight::analysis {

/// Parts of a task with other words and templates (what they share is in docs/evaluation.md): what is tuned on one is
/// judged on another.
enum class Split { calibration, selection, test };
std::string_view to_string(Split split);
/// @error invalid_argument
Split parse_split(std::string_view name);

/// A question with options, one of which is right.
struct TaskItem {
  std::string id;                    ///< "sentiment/test/7"
  std::string prompt;                ///< text before the option
  std::vector<std::string> options;  ///< each begins with its space
  std::size_t gold = 0;
  std::string template_id;
  std::string evidence;  ///< words of the prompt that the answer stands in; empty = none
  std::string decoy;     ///< words of the prompt as long and as plausible, beside the point; empty = none
  Json meta = Json::object();
  /// Instead of texts: tokens of the prompt (with the first one that the model expects) and of the options.
  std::vector<std::int32_t> prompt_ids;
  std::vector<std::vector<std::int32_t>> option_ids;
};
/// A line of a task file, {"schema": "headlight.task/1", ...}.
Json to_json(const TaskItem& item, Split split);

/// Words that tasks are made of: the JSON of data/tasks/words.json, {"schema": "headlight.words/1", "version",
/// "lists"}. Every list is shared out among the splits by place: of four neighbours the first is for calibration, the
/// second for selection, the others for the test.
class Lexicon {
 public:
  /// @error bad_format, bad_version
  explicit Lexicon(const Json& json);

  std::int64_t version() const { return version_; }
  /// Words of a list that a split may use. @error bad_format  there is no such list
  std::vector<std::string> words(std::string_view list, Split split) const;
  /// Pairs of a list of pairs.
  std::vector<std::pair<std::string, std::string>> pairs(std::string_view list, Split split) const;

 private:
  std::vector<Json> share(std::string_view list, Split split) const;
  Json lists_;
  std::int64_t version_ = 0;
};

/// What a generator draws from.
struct TaskSource {
  const Lexicon& lexicon;
  Split split = Split::test;
  std::uint64_t seed = 0;
  std::uint64_t index = 0;  ///< of the item in the list
  std::uint64_t draw = 0;   ///< counts items that were thrown away too
  SplitMix64& random;       ///< a stream of the item's own
  /// Ids for tasks made of tokens.
  std::span<const std::int32_t> tokens;
  std::optional<std::int32_t> bos;
};

/// A kind of question that is made up without end, from a seed.
struct Task {
  std::string_view id, number, title;  ///< "key-value", "T4"
  double chance = 0.5;                 ///< accuracy of a guess
  bool by_tokens = false;              ///< made of tokens: also for models without a tokenizer
  bool labels = false;  ///< options are labels or letters, scored by their sum; else by the mean per token
  std::vector<std::string_view> variants;  ///< ways to ask, --variant; the first one is the default
  TaskItem (*make)(const TaskSource& source, std::string_view variant) = nullptr;
};

/// Every task, T1 to T12.
const std::vector<Task>& tasks();
/// By id or number. @error invalid_argument  unknown; names the closest and all
const Task& require_task(std::string_view name);

/// Up to `count` items, no two of them the same: the same arguments give the same items on every machine. Fewer where
/// the words of the split do not make more. Places of the gold option are balanced.
/// @error invalid_argument  a variant that the task does not have
std::vector<TaskItem> make_items(const Task& task, std::string_view variant, const Lexicon& lexicon, Split split,
                                 std::size_t count, std::uint64_t seed, std::span<const std::int32_t> tokens = {},
                                 std::optional<std::int32_t> bos = {});

// Generators, in tasks_<group>.cpp.
std::vector<Task> label_tasks();      ///< sentiment, topic, nli
std::vector<Task> retrieval_tasks();  ///< mapping, key-value, copy, needle, override
std::vector<Task> language_tasks();   ///< ioi, agreement, facts, position-bias

}  // namespace headlight::analysis
