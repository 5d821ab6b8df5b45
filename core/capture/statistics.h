#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace headlight::capture {

enum class StatisticKind {
  row,     ///< one value per query row: [L, H, N]
  column,  ///< one value per key: [L, H, N]
  head,    ///< one value per head: [L, H]
};
std::string_view to_string(StatisticKind kind);

/// One entry of the registry: the only place where a statistic's name, unit, formula and range are written down. The id
/// is the name in files, on the command line, in expressions and in the window.
///
/// Symbols: A = attention of one head, i = query row, j = key, V(i) = keys visible to row i, n_i = |V(i)|, c_j = rows
/// that see key j, null = learned sink logit, S = sink size, W = local window.
struct StatisticInfo {
  std::string_view id;
  StatisticKind kind;
  std::string_view unit;  ///< "nat", "1", "token", "token2"
  std::string_view long_name;
  std::string_view formula;
  double low, high;         ///< range; infinity = unbounded
  bool is_integer = false;  ///< stored as i4 (jmax)
  /// Head value = mean over valid rows. False: rows that see a single key (the first one of a causal layer) are left
  /// out, because the value is always 1 or undefined there.
  bool mean_counts_first_row = true;
  std::string_view source;  ///< title of the paper, or "definition"
  bool recorded = true;     ///< measured during the run and stored; false = computed from recorded ones when asked for
  int version = 1;
};

/// Row, recorded: lse entropy pmax jmax first sink local dist1 dist2 off0 off1 null_mass group_mass; derived:
/// entropy_real entropy_normalized effective_support. Column, recorded: received received_tail; derived: received_mean
/// visible_count. Head, derived: received0 received_mean_max distance. Every row and column statistic but jmax has a
/// head value as well.
std::span<const StatisticInfo> statistics();

/// "entropy" of "entropy_base": the statistic of the same q and k without interventions. nullopt for every other id.
/// Recorded for row statistics but group_mass, and for column statistics, where interventions changed rows.
std::optional<std::string_view> base_statistic(std::string_view id);

/// Entry of `id`, null when unknown; "entropy_base" finds "entropy". "group_mass:2" is the mass on segment 2 and finds
/// "group_mass".
const StatisticInfo* find_statistic(std::string_view id);

/// As find_statistic(). @error invalid_argument  unknown; the sentence names the closest id and all there are
const StatisticInfo& require_statistic(std::string_view id);

/// Segment number of "group_mass:<n>"; nullopt for every other id.
std::optional<int> group_mass_segment(std::string_view id);

/// "L14H3": layer 14 of the model, head 3.
std::string head_name(int layer, int head);

}  // namespace headlight::capture
