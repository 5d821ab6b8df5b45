#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace headlight::cli {

struct HeadId {
  int layer = 0, head = 0;
};

/// Heads named by a list of ids: "3.7", "3.*", "L3H7", "L3H*", "L*H7", separated by ',' or '|'. Empty text = all.
/// Metrics and roles in head expressions are not in this version.
/// @param layers  recorded layers (model numbers)
/// @return [layers.size()][num_heads] 1 = selected
/// @error invalid_argument  with the position of the bad part; unsupported for metrics and roles
std::vector<std::uint8_t> select_heads(std::string_view option, std::string_view text, const std::vector<int>& layers,
                                       int num_layers, int num_heads);

/// One head, e.g. "3.7" or "L3H7". @error invalid_argument
HeadId parse_head(std::string_view option, std::string_view text, int num_layers, int num_heads);

}  // namespace headlight::cli
