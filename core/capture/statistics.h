#pragma once

#include <span>
#include <string_view>

namespace headlight::capture {

enum class StatisticKind {
  row,     ///< one value per query row: [L, H, N]
  column,  ///< one value per key: [L, H, N]
  head,    ///< one value per head: [L, H]
};

/// One entry of the registry: the only place where a statistic's name, unit, formula and range are written down. The id is
/// the name in files, on the command line, in expressions and in the window.
struct StatisticInfo {
  std::string_view id;
  StatisticKind kind;
  std::string_view unit;       ///< "nat", "1", "token", "token2"
  std::string_view long_name;
  std::string_view formula;
  double low, high;            ///< range; infinity = unbounded
  bool is_integer = false;     ///< stored as i4 (jmax)
  /// Head value = mean over valid rows; false when the first row is left out (it is always 1 or 0/0 there).
  bool mean_counts_first_row = true;
  std::string_view source;     ///< title of the paper, or "definition"
  int version = 1;
};

/// Row: lse entropy pmax jmax first sink local dist1 dist2 off0 off1 null_mass. Column: received received_tail.
/// Head: received0 received_mean_max distance entropy_normalized ... derived from those.
std::span<const StatisticInfo> statistics();
const StatisticInfo* find_statistic(std::string_view id);

}  // namespace headlight::capture
