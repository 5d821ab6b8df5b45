#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"
#include "kernels/attention.h"

namespace headlight::capture {

/// Which head of which record. `layer` is an index into the recorded layers.
struct HeadRef {
  std::int64_t record = 0;
  int layer = 0, head = 0;
  bool base = false;  ///< the map of the same q and k without interventions
};

struct TileRange {
  std::int64_t row_begin = 0, row_end = 0, col_begin = 0, col_end = 0;  ///< half-open
};

/// Exact attention of a tile, from the capture alone:
///
///     A[i,j] = exp(scale * <q_i, k_j> (+ soft cap) - lse_i)   for visible (i, j), 0 elsewhere
///
/// and what interventions did to the row, where the capture was made with some.
/// Promise for f32 captures: absolute error <= 1e-5 + 2^-21 max|s| of the row against float64.
/// @param out  [rows][cols] row-major
/// @error invalid_argument  level summary, head or rows not recorded, range outside the capture
void replay_tile(const CaptureView& view, const HeadRef& head, const TileRange& tile, ThreadPool& pool,
                 std::span<float> out, std::stop_token stop = {});

enum class Pooling { max, mean };

/// Pooled tile: max or mean over the visible pairs among `pool_rows` x `pool_cols` cells (0 where none is visible),
/// computed row block by row block in O(block) memory beside the result.
/// @error as replay_tile()
Buffer<float> replay_pooled(const CaptureView& view, const HeadRef& head, const TileRange& tile, std::int64_t pool_rows,
                            std::int64_t pool_cols, Pooling pooling, ThreadPool& pool, std::stop_token stop = {});

/// Every row and column statistic of a head recomputed from q, k in float64 (nothing but q, k and the layer's
/// parameters is used, not even lse). The oracle of `verify`. Row arrays count from the first row asked for.
struct HeadOracle {
  std::vector<double> lse, entropy, pmax, first, sink, local, dist1, dist2, off0, off1, null_mass, received,
      received_tail;
  std::vector<double> row_sum;  ///< of the map: 1 - null_mass, unless an intervention does not renormalise
  std::vector<std::int64_t> jmax;
  std::vector<double> group_mass_gi;         ///< [segments][rows]
  std::vector<double> block_sum, block_max;  ///< [B][B], over the rows asked for; empty without an overview
  std::vector<double> score_absmax;          ///< max |s| of each row, for the tolerance
};

/// One row of A in float64, entries [keys.begin, keys.end) of attn_j are valid. Called from several threads.
using OracleRowVisitor =
    std::function<void(std::int64_t row, kernels::KeyRange keys, const std::vector<double>& attn_j)>;

HeadOracle recompute_head(const CaptureView& view, const HeadRef& head, std::int64_t row_begin, std::int64_t row_end,
                          ThreadPool& pool, std::stop_token stop = {}, const OracleRowVisitor& visit = {});

}  // namespace headlight::capture
