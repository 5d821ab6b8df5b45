#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/heads/head_set.h"

namespace headlight::heads {

/// Syntax tree of a head expression. `at` is the byte of its first character.
struct HeadExpression::Node {
  enum class Kind { any_of, all_of, none_of, heads, kv_heads, role, primary, set, compare, top, bottom };
  static constexpr int kEvery = -1;

  Kind kind = Kind::any_of;
  std::size_t at = 0;
  std::vector<Node> children = {};    ///< any_of, all_of; the one child of none_of
  int layer = kEvery, head = kEvery;  ///< heads, kv_heads
  std::string name = {};              ///< of a metric, role or set
  std::string op = {};                ///< compare
  double number = 0.0;                ///< compare, top, bottom
  bool percent = false;               ///< top, bottom
};

}  // namespace headlight::heads
