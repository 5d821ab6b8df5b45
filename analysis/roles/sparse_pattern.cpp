#include "analysis/roles/sparse_pattern.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kWindowRows = 64, kForced = 30, kBlockEdge = 32;
constexpr double kEnough = 0.9;

double at(std::span<const float> row, std::int64_t j) {
  return row[static_cast<std::size_t>(j)];
}

/// The first `forced` indices and then those with the largest values, `count` in all, ascending; ties: lower index.
std::vector<std::int64_t> largest(const std::vector<double>& values, std::int64_t count) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  count = std::clamp<std::int64_t>(count, 0, std::ssize(order));
  const std::int64_t forced = std::min(kForced, count);
  std::stable_sort(order.begin() + forced, order.end(), [&](std::int64_t a, std::int64_t b) {
    return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

template <class Mass>
double mean_over_rows(const AttentionRows& map, const Mass& mass) {
  double sum = 0;
  for (std::int64_t i = map.first_row; i < map.first_row + map.rows; ++i) sum += mass(map.row(i), i);
  return sum / static_cast<double>(map.rows);
}

std::vector<double> block_means(std::span<const float> x_id, std::int64_t n, std::int64_t head_dim, std::int64_t edge) {
  const std::int64_t blocks = (n + edge - 1) / edge;
  std::vector<double> means(static_cast<std::size_t>(blocks * head_dim));
  for (std::int64_t i = 0; i < n; ++i) {
    const double rows = static_cast<double>(std::min(edge, n - i / edge * edge));
    for (std::int64_t d = 0; d < head_dim; ++d)
      means[static_cast<std::size_t>(i / edge * head_dim + d)] +=
          x_id[static_cast<std::size_t>(i * head_dim + d)] / rows;
  }
  return means;
}

std::vector<double> block_scores(std::span<const float> q_id, std::span<const float> k_id, std::int64_t n,
                                 std::int64_t head_dim, std::int64_t edge) {
  const auto q = block_means(q_id, n, head_dim, edge), k = block_means(k_id, n, head_dim, edge);
  const std::int64_t blocks = (n + edge - 1) / edge;
  std::vector<double> scores(static_cast<std::size_t>(blocks * blocks));
  for (std::int64_t a = 0; a < blocks; ++a)
    for (std::int64_t b = 0; b <= a; ++b)
      scores[static_cast<std::size_t>(a * blocks + b)] =
          std::inner_product(q.begin() + a * head_dim, q.begin() + (a + 1) * head_dim, k.begin() + b * head_dim, 0.0);
  return scores;
}

}  // namespace

std::string_view to_string(SparseClass pattern) {
  switch (pattern) {
    case SparseClass::a_shape:
      return "a-shape";
    case SparseClass::vertical_slash:
      return "vertical-slash";
    case SparseClass::block_sparse:
      return "block-sparse";
    case SparseClass::dense:
      return "dense";
  }
  return "?";
}

VerticalSlash choose_vertical_slash(const AttentionRows& map, std::int64_t vertical, std::int64_t slash) {
  std::vector<double> column(static_cast<std::size_t>(map.n)), offset(static_cast<std::size_t>(map.n));
  const std::int64_t end = map.first_row + map.rows;
  for (std::int64_t i = std::max(map.first_row, end - kWindowRows); i < end; ++i)
    for (std::int64_t j = 0; j <= i; ++j) {
      column[static_cast<std::size_t>(j)] += at(map.row(i), j);
      offset[static_cast<std::size_t>(i - j)] += at(map.row(i), j);
    }
  return {largest(column, vertical), largest(offset, slash)};
}

double recovered_vertical_slash(const AttentionRows& map, const VerticalSlash& mask) {
  std::vector<std::uint8_t> is_column(static_cast<std::size_t>(map.n));
  for (const std::int64_t j : mask.columns) is_column[static_cast<std::size_t>(j)] = 1;
  return mean_over_rows(map, [&](std::span<const float> row, std::int64_t i) {
    double mass = 0;
    for (const std::int64_t j : mask.columns)
      if (j <= i) mass += at(row, j);
    for (const std::int64_t d : mask.offsets)
      if (d <= i && is_column[static_cast<std::size_t>(i - d)] == 0) mass += at(row, i - d);
    return mass;
  });
}

double recovered_a_shape(const AttentionRows& map, std::int64_t sink, std::int64_t local) {
  return mean_over_rows(map, [&](std::span<const float> row, std::int64_t i) {
    double mass = 0;
    const std::int64_t band = std::max<std::int64_t>(0, i - local);
    for (std::int64_t j = 0; j < std::min(sink, band); ++j) mass += at(row, j);
    for (std::int64_t j = band; j <= i; ++j) mass += at(row, j);
    return mass;
  });
}

double recovered_blocks(const AttentionRows& map, std::span<const double> score_ab, std::int64_t edge,
                        std::int64_t kept) {
  const std::int64_t blocks = (map.n + edge - 1) / edge;
  HEADLIGHT_CHECK(std::ssize(score_ab) == blocks * blocks);
  std::vector<std::int64_t> chosen;
  std::int64_t chosen_for = -1;
  return mean_over_rows(map, [&](std::span<const float> row, std::int64_t i) {
    const std::int64_t a = i / edge;
    if (a != chosen_for) {
      chosen.resize(static_cast<std::size_t>(a + 1));
      std::iota(chosen.begin(), chosen.end(), 0);
      const auto score = [&](std::int64_t b) { return score_ab[static_cast<std::size_t>(a * blocks + b)]; };
      std::stable_sort(chosen.begin(), chosen.end(),
                       [&](std::int64_t x, std::int64_t y) { return score(x) > score(y); });
      chosen.resize(static_cast<std::size_t>(std::min(a + 1, kept)));
      chosen_for = a;
    }
    double mass = 0;
    for (const std::int64_t b : chosen)
      for (std::int64_t j = b * edge; j <= std::min(i, (b + 1) * edge - 1); ++j) mass += at(row, j);
    return mass;
  });
}

SparsePattern sparse_pattern(const AttentionRows& map, std::span<const float> q_id, std::span<const float> k_id,
                             std::int64_t head_dim, double share) {
  const auto budget = std::max<std::int64_t>(2, std::llround(share * static_cast<double>(map.n)));
  const std::int64_t sink = std::min(kForced, budget / 2);
  SparsePattern out;
  out.a_shape = recovered_a_shape(map, sink, budget - sink - 1);
  out.vertical_slash = recovered_vertical_slash(map, choose_vertical_slash(map, budget / 2, budget - budget / 2));
  out.block_sparse = recovered_blocks(map, block_scores(q_id, k_id, map.n, head_dim, kBlockEdge), kBlockEdge,
                                      std::max<std::int64_t>(1, budget / kBlockEdge));
  const double best = std::max({out.a_shape, out.vertical_slash, out.block_sparse});
  if (best < kEnough) return out;
  out.best = best == out.a_shape          ? SparseClass::a_shape
             : best == out.vertical_slash ? SparseClass::vertical_slash
                                          : SparseClass::block_sparse;
  return out;
}

}  // namespace headlight::analysis
