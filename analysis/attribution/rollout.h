#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

enum class HeadFusion { mean, max, min };

struct RolloutOptions {
  double residual = 0.5;                 ///< share of the residual stream, in [0, 1]
  HeadFusion fusion = HeadFusion::mean;  ///< max and min renormalise rows
  double discard = 0.0;        ///< smallest entries of each layer's fused map set to 0: this share of the visible ones
  std::int64_t drop_sink = 0;  ///< first keys removed from A and rows renormalised; 0 = none
  int start_layer = 0;         ///< index of the first layer taken into the product
};

/// Attention rollout of chosen target rows:
///
///     M[l] = (1 - r) mean_h A[l,h] + r I,   R = M[L-1] ... M[start],   attr[t, j] = R[target_t, j]
///
/// as a row vector taken from the last layer down: T weighted column sums per layer, O(T N) memory, no N x N product.
/// Values in [0, 1]; rows sum to 1 (less the mass of a learned sink). Mean over the recorded heads of recorded layers.
/// @return attr_tj [targets][num_rows]
/// @error invalid_argument  a target outside the record; fusion other than mean or a discard share (they need
///        full_rollout()); no q and k; cancelled
/// @see Quantifying Attention Flow in Transformers
std::vector<double> rollout(const capture::CaptureView& view, std::int64_t record,
                            std::span<const std::int64_t> targets, const RolloutOptions& options, ThreadPool& pool,
                            std::stop_token stop = {});

/// Fused map of one layer with its residual, M[l] [N][N], all options but start_layer.
/// @param attn_hij  [heads][N][N], 0 where invisible
std::vector<double> mixed_map(std::span<const float> attn_hij, std::int64_t heads, std::int64_t num_rows,
                              std::int64_t first_key, const RolloutOptions& options);

/// The whole R [N][N] by matrix products: 2 N^3 operations per layer and two N x N arrays.
/// @error invalid_argument  more than 4096 rows
std::vector<double> full_rollout(const capture::CaptureView& view, std::int64_t record, const RolloutOptions& options,
                                 ThreadPool& pool, std::stop_token stop = {});

/// M[l] of a layer of a capture (heads replayed one after the other).
std::vector<double> captured_mixed_map(const capture::CaptureView& view, std::int64_t record, int layer,
                                       const RolloutOptions& options, ThreadPool& pool, std::stop_token stop = {});

}  // namespace headlight::analysis
