#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace headlight::analysis {

/// How two attention rows a, b over the same keys are compared. Rows need not sum to 1 exactly, but none is negative.
enum class RowMeasure {
  cosine,           ///< a.b / (|a| |b|)                                        in [0, 1], 1 = equal direction
  jensen_shannon,   ///< (KL(a|m) + KL(b|m)) / (2 ln 2), m = (a + b) / 2        in [0, 1], 0 = equal
  total_variation,  ///< sum |a - b| / 2 = 1 - sum min(a, b)                    in [0, 1], 0 = equal
  top_overlap,      ///< |T_k(a) n T_k(b)| / k over the k largest entries       in [0, 1], 1 = equal
  recovered_mass,   ///< sum of a over T_k(b): what a keeps of itself if it reads b's keys; not symmetric, in [0, 1]
};

/// Comparisons of rows in float64. NaN where a measure is undefined (a row of zeros).
/// @see EchoAtt: Attend, Copy, then Adjust for More Efficient Large Language Models (cosine)
/// @see IndexCache: Accelerating Sparse Attention via Cross-Layer Index Reuse (overlap of chosen keys)
double compare_rows(RowMeasure measure, std::span<const double> a, std::span<const double> b, std::int64_t k = 64);

/// Keys [first, first + count) become 0 and the rest is divided by its sum: sinks otherwise make every pair of rows
/// look alike. A row with nothing else becomes all 0.
void drop_keys(std::span<double> row_j, std::int64_t first, std::int64_t count);

/// Linear centred kernel alignment of two sets of row vectors, X [rows][x_dim] and Y [rows][y_dim]:
///
///     |Xc' Yc|_F^2 / (|Xc' Xc|_F |Yc' Yc|_F),   columns centred;   in [0, 1], NaN for a constant side
///
/// Unchanged by rotation, by one common factor and by any shift of X or Y. With no more rows than columns it is 1 by
/// construction for generic inputs, so rows should far outnumber x_dim and y_dim.
/// @see Similarity of Neural Network Representations Revisited
double linear_cka(std::span<const double> x, std::int64_t x_dim, std::span<const double> y, std::int64_t y_dim);

/// linear_cka() of every pair of sets of one width, [sets][sets]; an empty set gives NaN.
std::vector<double> linear_cka_matrix(std::span<const std::vector<double>> x_s, std::int64_t dim, ThreadPool& pool);

/// Layers whose attention could be shared: the longest run [begin, end) of middle layers (not the first, not the last)
/// in which every layer is at least `threshold` similar to the one before it; the earliest of equal length, empty when
/// there is none of two layers. @param similarity_lm  [n][n], larger = more alike
/// @see EchoAtt: Attend, Copy, then Adjust for More Efficient Large Language Models
struct LayerBlock {
  std::int64_t begin = 0, end = 0;
};
LayerBlock longest_similar_block(std::span<const double> similarity_lm, std::int64_t n, double threshold);

/// One merge of average-linkage clustering: clusters 0..n-1 are the items, n + m is the result of merge m.
struct Merge {
  std::int64_t a, b;  ///< a < b
  double distance;
};
/// Dendrogram of n items by average linkage (UPGMA), nearest pair first, ties by the smaller numbers. NaN distances
/// count as infinite. @param distance_ab  [n][n], symmetric
std::vector<Merge> average_linkage(std::span<const double> distance_ab, std::int64_t n);

}  // namespace headlight::analysis
