#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// Queries and keys of one KV head, moved and scaled so that they share a space. Neither step changes attention:
///
///     k' = k + a,  a = mean(q) - mean(k)      adds <q_i, a> to every score of row i: the softmax does not see it
///     q'' = c q,   k'' = k' / c               leaves every score as it is
///
/// c out of 2^-4 .. 2^4 (33 steps, logarithmic) maximises the correlation of dot product and -cosine distance of q''
/// and k'', weighted by attention. Query heads of a group share a and c.
/// @see AttentionViz: A Global View of Transformer Attention
struct JointVectors {
  std::int64_t dim = 0;
  std::vector<double> q_nd, k_nd;  ///< transformed, [queries][dim], [keys][dim]
  std::vector<double> shift_d;     ///< a
  double scale = 1.0;              ///< c
};

/// @param weight_ij  [queries][keys] attention, the weights of the correlation; empty = all pairs alike
JointVectors normalise_jointly(std::span<const double> q_nd, std::span<const double> k_nd, std::int64_t dim,
                               std::span<const double> weight_ij);

/// Spearman correlation of cosine distance and dot product over the pairs with positive weight (all pairs when there
/// are none): -1 = distances in the picture show scores.
double distance_quality(const JointVectors& vectors, std::span<const double> weight_ij);

struct Projection {
  std::vector<double> xy_n2;      ///< [points][2]
  std::vector<double> explained;  ///< share of the variance of each axis (principal components only)
};

/// First two principal components of centred points. Signs: the entry of largest magnitude of each axis is positive.
Projection principal_components(std::span<const double> x_nd, std::int64_t dim);

struct TsneOptions {
  double perplexity = 30.0;
  int iterations = 500;
  double learning_rate = 0.0;  ///< 0 = max(points / 48, 50)
  bool cosine = true;          ///< distances of unit vectors
  std::uint64_t seed = 0;
};

/// Exact t-SNE in two dimensions, O(n^2) per step, from the first two principal components; deterministic.
/// @error invalid_argument  more than 4096 points, or fewer than 3 times the perplexity; cancelled
/// @see Visualizing Data using t-SNE
Projection tsne(std::span<const double> x_nd, std::int64_t dim, const TsneOptions& options, ThreadPool& pool,
                std::stop_token stop = {});

/// Joint embedding of one KV head of a record, from its own q and k at up to `points` evenly spaced positions.
struct HeadEmbedding {
  JointVectors vectors;
  std::vector<std::int64_t> positions;  ///< of the queries of every head, and of the keys
  std::vector<int> query_heads;         ///< query heads of the group that are recorded: q_nd = [heads][positions]
  double quality = 0.0;                 ///< distance_quality()
  double norm_gap = 0.0;                ///< mean |q| - mean |k| before the transform
};
/// @error invalid_argument  no q and k, no recorded head in the group
HeadEmbedding embed_head(const capture::CaptureView& view, std::int64_t record, int layer, int kv_head,
                         std::int64_t points, ThreadPool& pool, std::stop_token stop = {});

}  // namespace headlight::analysis
