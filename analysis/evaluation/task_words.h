#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/evaluation/task.h"

namespace headlight::analysis {

/// "The {0} near the {1}" with its places filled.
std::string filled(std::string_view frame, std::initializer_list<std::string_view> words);

/// One of a list that is not empty.
template <class T>
T pick(const std::vector<T>& items, SplitMix64& random) {
  return items[static_cast<std::size_t>(random.below(items.size()))];
}

/// `count` different ones in a random order. @error invalid_argument  there are fewer
std::vector<std::string> pick_some(std::vector<std::string> items, std::size_t count, SplitMix64& random);

/// A sentence frame of a list, and its name for reports.
struct Frame {
  std::string text, id;
};
Frame pick_frame(const TaskSource& source, std::string_view list);

/// Options " a", " b" ... with the gold one at place index % n; the others as given.
void set_options(TaskItem& item, std::string gold, std::vector<std::string> others, std::uint64_t index);

}  // namespace headlight::analysis
