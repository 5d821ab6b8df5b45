#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace headlight::heads {

/// One query head. Layers are those of the model.
struct HeadId {
  int layer = 0, head = 0;
  auto operator<=>(const HeadId&) const = default;
};

/// "L12H7".
std::string to_string(HeadId id);

/// Sizes that head ids are checked against. Query head h reads KV head floor(h G / H).
struct HeadGrid {
  int num_layers = 0, num_heads = 0, num_kv_heads = 0;

  std::size_t size() const { return static_cast<std::size_t>(num_layers) * static_cast<std::size_t>(num_heads); }
  std::size_t index(HeadId id) const {
    return static_cast<std::size_t>(id.layer) * static_cast<std::size_t>(num_heads) + static_cast<std::size_t>(id.head);
  }
  int kv_head(int head) const { return head * num_kv_heads / num_heads; }
};

/// One byte per head, [L][H], 1 = in the set.
using HeadMask = std::vector<std::uint8_t>;

std::vector<HeadId> heads_of(const HeadGrid& grid, const HeadMask& mask);

/// Shortest list of ids for a mask: "L3H*, L7H2"; "" for the empty set. parse_heads() reads it back.
std::string to_text(const HeadGrid& grid, const HeadMask& mask);

}  // namespace headlight::heads
