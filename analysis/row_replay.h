#pragma once

#include <vector>

#include "analysis/record_shape.h"
#include "base/buffer.h"
#include "core/capture/capture_sink.h"
#include "core/capture/score_block.h"

namespace headlight::analysis {

/// Exact scores and attention of chosen rows, for analyses that look at rows here and there: the keys of a KV head are
/// read and packed once, the queries of a head once, and then any row costs one product.
///
///     s_ij = scale <q_i, k_j> (soft cap),   A_ij = exp(s_ij - lse_i)   for visible j
class RowReplay {
 public:
  /// @param layer  index of a recorded layer
  /// @error invalid_argument  no q and k in the capture
  RowReplay(const AnalysisInput& input, const RecordShape& shape, int layer);

  bool recorded(int head) const { return input_.capture.head_recorded(input_.record, layer_, head); }
  /// Rows whose queries are there, half-open.
  kernels::KeyRange rows() const { return rows_; }
  /// Reads the queries of a head, and the keys of its KV head if they are others than before. Not thread-safe.
  void open(int head);

  // After open(); several threads may ask at the same time.

  kernels::KeyRange visible(std::int64_t row) const { return geometry_.mask.visible(row, geometry_.num_rows); }
  /// Entries of the visible keys, attn_j[0] = key visible(row).begin. @return the visible keys
  kernels::KeyRange attention(std::int64_t row, std::vector<float>& attn_j) const;
  kernels::KeyRange scores(std::int64_t row, std::vector<float>& score_j) const;
  std::span<const float> query(std::int64_t row) const;
  std::span<const float> key(std::int64_t key) const;

 private:
  const AnalysisInput& input_;
  int layer_ = 0, head_dim_ = 0, num_heads_ = 0, num_kv_heads_ = 0, kv_head_ = -1, head_ = -1;
  capture::LayerGeometry geometry_;
  capture::LayerParameters parameters_;
  kernels::KeyRange rows_;
  Buffer<float> lse_hi_, q_id_, k_jd_;
  capture::KeyPanel panel_;
};

/// Attention of some rows of one head.
struct SampledRows {
  std::vector<std::int64_t> rows;
  std::vector<kernels::KeyRange> keys_r;    ///< visible keys of each row
  std::vector<std::vector<float>> attn_rj;  ///< weights of those keys
};
using SampledHeadVisitor = std::function<void(int layer, int head, const SampledRows& sampled)>;

/// Calls `visit` for every recorded head in the order of (layer, head), on this thread; rows are replayed in parallel.
/// `choose` says which of the rows that are there count. @error cancelled
void for_each_sampled_head(const AnalysisInput& input, const RecordShape& shape,
                           const std::function<std::vector<std::int64_t>(kernels::KeyRange rows)>& choose,
                           const std::stop_token& stop, const SampledHeadVisitor& visit);

/// At most `count` rows of [rows.begin, rows.end), evenly spaced, the last one always among them, ascending.
std::vector<std::int64_t> spread_rows(kernels::KeyRange rows, std::int64_t count);

}  // namespace headlight::analysis
