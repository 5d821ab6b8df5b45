#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace headlight {

/// Insertions, deletions and replacements that turn a into b.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// What was probably meant: the closest candidate within an edit distance of 2 (the first of equals), or empty.
std::string closest_match(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace headlight
