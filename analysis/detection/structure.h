#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "analysis/detection/token_spans.h"

namespace headlight::analysis {

// How far attention follows a structure that is known from outside: brackets, a graph, a grid of patches.

/// Depth and partner of every token of a bracket string.
struct BracketStructure {
  std::vector<int> depth_j;  ///< depth after an opening and before a closing bracket, so partners agree; may be < 1
  std::vector<std::int64_t> partner_j;  ///< position of the matching bracket, -1 = none
};
/// @param kind_j  +1 opening, -1 closing, 0 neither
BracketStructure bracket_structure(std::span<const int> kind_j);

struct HierarchicalAttention {
  double depth_matching = 0.0;  ///< mean over rows of (mass on keys of the row's depth) / (their share of visible keys)
  double partner_mass = 0.0;    ///< mean over closing brackets of the mass on their partner
  double violation_mass = 0.0;  ///< mean over rows of the mass on keys whose running depth is below 0
};
/// @param attn_ij  [N][N], 0 where invisible; rows i see keys j <= i
/// @see Can Interpretation Predict Behavior on Unseen Data?
HierarchicalAttention hierarchical_attention(std::span<const float> attn_ij, const BracketStructure& structure);

/// Mean attention between the nodes of a graph written as text:
///     N[a,b] = mean_{i in a} sum_{j in b} A_ij,   [nodes][nodes]
/// @see Attention Mechanisms Perspective: Exploring LLM Processing of Graph-Structured Data
std::vector<double> node_attention(std::span<const float> attn_ij, std::int64_t num_rows,
                                   std::span<const TokenSpan> nodes);

using Edge = std::pair<std::int64_t, std::int64_t>;

/// Shortest path lengths, [nodes][nodes]; -1 = not connected. Edges have no direction.
std::vector<int> hop_distances(std::int64_t nodes, std::span<const Edge> edges);

struct GraphAttention {
  std::vector<double> share_by_hop;  ///< itself, 1 hop, 2 hops, farther or none: shares of all node attention
  double hop_correlation = 0.0;      ///< Spearman of N[a,b] with 1 / (1 + hop) over visible pairs a != b
  double degree_correlation = 0.0;   ///< Spearman of received node attention with degree
  double shuffled_one_hop =
      0.0;  ///< one-hop share for randomly renamed nodes, mean of 100: equal = the graph is unused
};
/// Only pairs where b is written before a count (causal attention sees no others), and a = b.
GraphAttention graph_attention(std::span<const double> node_ab, std::int64_t nodes, std::span<const Edge> edges,
                               std::uint64_t seed);

/// Attention by distance on a grid of patches, k = Chebyshev distance:
///     P_k = mean_i mean_{j : hop(i,j) = k} A_ij,   k = 0 .. max(rows, cols) - 1
/// @param attn_ij  [N][N] over all tokens;  @param first  first patch;  patches row by row
/// @see How Does Attention Work in Vision Transformers? A Visual Analytics Attempt
std::vector<double> hop_profile(std::span<const float> attn_ij, std::int64_t num_rows, std::int64_t first,
                                std::int64_t rows, std::int64_t cols);

/// Similarity map of a vector and patch vectors: cos(LN(a), LN(b_p)) / temperature and its sigmoid, no softmax, so that
/// an unrelated text gives low values everywhere.
/// @see RadZero: Similarity-Based Cross-Attention for Explainable Vision-Language Alignment in Radiology
struct SimilarityMap {
  std::vector<double> logit_p, probability_p;
};
SimilarityMap similarity_map(std::span<const double> text_d, std::span<const double> patch_pd,
                             double temperature = 0.07);

/// Bilinear enlargement, pixel centres at half positions, edges held. [out_rows][out_cols]
std::vector<double> enlarge(std::span<const double> map_yx, std::int64_t rows, std::int64_t cols, std::int64_t out_rows,
                            std::int64_t out_cols);

/// 2 |a n b| / (|a| + |b|) of map >= threshold and mask; 1 when both are empty.
double dice(std::span<const double> map, std::span<const int> mask, double threshold);

/// Patterns of the products of a linear in-context learner, [d][d] each.
/// @see In-Context Linear Regression Demystified
struct RegressionPatterns {
  double diagonality = 0.0;  ///< |diag|_F / |KQ|_F of the input block, in [0, 1]
  double homogeneity = 0.0;  ///< std / mean of |diag|, 0 = one multiple of the identity
  double last_entry = 0.0;   ///< |OV[d-1][d-1]| / |OV|_F: 1 = only labels are written
};
RegressionPatterns regression_patterns(std::span<const double> kq_dd, std::span<const double> ov_dd, std::int64_t d);

}  // namespace headlight::analysis
