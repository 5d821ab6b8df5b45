#include "analysis/roles/pattern_scores.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kLargestOffset = 16, kFewestRows = 8;
constexpr double kSinkMass = 0.3, kLeastOffDiagonal = 1e-3;

double mean_of(double sum, double count) {
  return count > 0 ? sum / count : kUndefined;
}

double mass_on(std::span<const float> attn_j, const std::vector<std::int64_t>& keys) {
  double mass = 0;
  for (const std::int64_t j : keys) mass += attn_j[static_cast<std::size_t>(j)];
  return mass;
}

double entropy_of(std::span<const float> attn_j) {
  double entropy = 0;
  for (const double a : attn_j)
    if (a > 0) entropy -= a * std::log(a);
  return entropy;
}

/// Sums over the rows of one map.
struct Sums {
  double rows = 0, previous = 0, current = 0, first = 0, first_rate = 0, broad = 0, distance = 0, all = 0;
  double off_diagonal = 0, duplicate = 0, duplicate_rows = 0, duplicate_off_diagonal = 0;
  double induction = 0, induction_rows = 0;
  std::vector<double> offset, offset_rows, column, column_rows;
};

void add_row(Sums& sums, std::span<const float> attn_j, std::int64_t i, const PatternTargets& targets) {
  const auto at = [&](std::int64_t j) { return static_cast<double>(attn_j[static_cast<std::size_t>(j)]); };
  const auto row = static_cast<std::size_t>(i);
  double mass = 0, distance = 0;
  for (std::int64_t j = 0; j <= i; ++j) {
    mass += at(j);
    distance += at(j) * static_cast<double>(i - j);
  }
  if (mass <= 0) return;
  sums.all += mass;
  sums.off_diagonal += mass - at(i);
  const double duplicate = mass_on(attn_j, targets.duplicate_i[row]);
  const double induction = mass_on(attn_j, targets.induction_i[row]);
  sums.duplicate += duplicate;
  sums.induction += induction;
  if (!targets.induction_i[row].empty()) sums.induction_rows += 1;
  if (!targets.duplicate_i[row].empty()) {
    sums.duplicate_rows += 1;
    sums.duplicate_off_diagonal += mass - at(i);
  }
  for (std::int64_t j = 1; j <= i; ++j) {
    sums.column[static_cast<std::size_t>(j)] += at(j);
    sums.column_rows[static_cast<std::size_t>(j)] += 1;
  }
  if (i == 0) return;
  sums.rows += 1;
  sums.previous += at(i - 1);
  sums.current += at(i);
  sums.first += at(0);
  sums.first_rate += at(0) > kSinkMass;
  sums.broad += entropy_of(attn_j) / std::log(static_cast<double>(i + 1));
  sums.distance += distance;
  for (std::int64_t d = 2; d <= std::min(i, kLargestOffset); ++d) {
    sums.offset[static_cast<std::size_t>(d)] += at(i - d);
    sums.offset_rows[static_cast<std::size_t>(d)] += 1;
  }
}

}  // namespace

PatternTargets pattern_targets(std::span<const std::int32_t> ids) {
  PatternTargets targets;
  std::map<std::int32_t, std::vector<std::int64_t>> seen;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto& earlier = seen[ids[i]];
    targets.duplicate_i.push_back(earlier);
    targets.induction_i.emplace_back();
    for (const std::int64_t j : earlier) targets.induction_i.back().push_back(j + 1);
    earlier.push_back(static_cast<std::int64_t>(i));
  }
  return targets;
}

PatternScores pattern_scores(const AttentionMap& map, const PatternTargets& targets) {
  HEADLIGHT_CHECK(std::ssize(map.attn_ij) == map.n * map.n && std::ssize(targets.duplicate_i) == map.n);
  Sums sums;
  sums.offset.assign(kLargestOffset + 1, 0.0);
  sums.offset_rows.assign(kLargestOffset + 1, 0.0);
  sums.column.assign(static_cast<std::size_t>(map.n), 0.0);
  sums.column_rows.assign(static_cast<std::size_t>(map.n), 0.0);
  for (std::int64_t i = 0; i < map.n; ++i) add_row(sums, map.row(i), i, targets);

  PatternScores out;
  out.previous = mean_of(sums.previous, sums.rows);
  out.current = mean_of(sums.current, sums.rows);
  out.first = mean_of(sums.first, sums.rows);
  out.first_rate = mean_of(sums.first_rate, sums.rows);
  out.broad = mean_of(sums.broad, sums.rows);
  out.distance = mean_of(sums.distance, sums.rows);
  out.duplicate_stripe = mean_of(sums.duplicate, sums.duplicate_rows);
  out.duplicate = sums.duplicate_rows == 0 ? kUndefined
                  : sums.duplicate_off_diagonal < kLeastOffDiagonal * sums.duplicate_rows
                      ? 0.0
                      : sums.duplicate / sums.duplicate_off_diagonal;
  out.duplicate_mass =
      sums.off_diagonal < kLeastOffDiagonal * std::max(1.0, sums.rows) ? 0.0 : sums.duplicate / sums.off_diagonal;
  out.induction = mean_of(sums.induction, sums.induction_rows);
  out.induction_mass = mean_of(sums.induction, sums.all);
  out.positional = out.vertical = kUndefined;
  for (std::size_t d = 2; d < sums.offset.size(); ++d) {
    const double score = mean_of(sums.offset[d], sums.offset_rows[d]);
    if (std::isnan(score) || score <= out.positional) continue;
    out.positional = score;
    out.positional_offset = static_cast<std::int64_t>(d);
  }
  for (std::size_t j = 1; j < sums.column.size(); ++j)
    if (sums.column_rows[j] >= kFewestRows)
      out.vertical = std::fmax(out.vertical, sums.column[j] / sums.column_rows[j]);
  return out;
}

}  // namespace headlight::analysis
