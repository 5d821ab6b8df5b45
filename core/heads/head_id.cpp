#include "core/heads/head_id.h"

#include <algorithm>

#include <fmt/format.h>

namespace headlight::heads {

std::string to_string(HeadId id) {
  return fmt::format("L{}H{}", id.layer, id.head);
}

std::vector<HeadId> heads_of(const HeadGrid& grid, const HeadMask& mask) {
  std::vector<HeadId> list;
  for (int l = 0; l < grid.num_layers; ++l)
    for (int h = 0; h < grid.num_heads; ++h)
      if (mask[grid.index({l, h})] != 0) list.push_back({l, h});
  return list;
}

std::string to_text(const HeadGrid& grid, const HeadMask& mask) {
  std::string text;
  for (int l = 0; l < grid.num_layers; ++l) {
    const auto begin = mask.begin() + static_cast<std::ptrdiff_t>(grid.index({l, 0}));
    const auto chosen = std::count(begin, begin + grid.num_heads, std::uint8_t{1});
    if (chosen == grid.num_heads) text += fmt::format("{}L{}H*", text.empty() ? "" : ", ", l);
    for (int h = 0; h < grid.num_heads && chosen < grid.num_heads; ++h)
      if (begin[h] != 0) text += (text.empty() ? "" : ", ") + to_string({l, h});
  }
  return text;
}

}  // namespace headlight::heads
