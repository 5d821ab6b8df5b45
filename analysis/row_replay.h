#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "analysis/record_shape.h"
#include "base/buffer.h"
#include "core/capture/replay_head.h"
#include "core/capture/score_block.h"

namespace headlight::analysis {

/// Exact scores and attention of chosen rows, for analyses that look at rows here and there: the keys of a KV head are
/// read and packed once, the queries of a head once, and then any row costs one product.
///
///     s_ij = scale <q_i, k_j> (soft cap),   A_ij = exp(s_ij - lse_i)   for visible j
///
/// Attention has what interventions did to the row, scores are those before.
class RowReplay {
 public:
  /// @param layer  index of a recorded layer
  /// @param base   without interventions: the attention of the same q and k
  /// @error invalid_argument  no q and k in the capture
  RowReplay(const capture::CaptureView& view, std::int64_t record, int layer, bool base = false);

  bool recorded(int head) const { return view_.head_recorded(record_, layer_, head); }
  /// Rows whose queries are there, half-open, without padding.
  kernels::KeyRange rows() const { return rows_; }
  /// Reads the queries of a head, of all rows() or of some ascending ones, and the keys of its KV head if they are
  /// others than before. Not thread-safe. @error invalid_argument  the head or a row is not recorded
  void open(int head);
  void open(int head, std::span<const std::int64_t> rows);

  // After open(), of the rows that it read; several threads may ask at the same time.

  const capture::LayerParameters& parameters() const { return head_->parameters; }
  const capture::LayerGeometry& geometry() const { return geometry_; }
  kernels::KeyRange visible(std::int64_t row) const { return geometry_.mask.visible(row, geometry_.num_rows); }
  /// Interventions changed rows of this head.
  bool changed() const { return head_->program() != nullptr; }
  /// Entries of the visible keys, attn_j[0] = key visible(row).begin. @return the visible keys
  kernels::KeyRange attention(std::int64_t row, std::vector<float>& attn_j) const;
  kernels::KeyRange scores(std::int64_t row, std::vector<float>& score_j) const;
  /// attention() of the last `count` visible keys only. @return those keys
  kernels::KeyRange attention_near(std::int64_t row, std::int64_t count, std::vector<float>& attn_j) const;
  std::span<const float> query(std::int64_t row) const;
  std::span<const float> key(std::int64_t key) const;

 private:
  void open_keys(int head, kernels::KeyRange rows);
  /// <q_row, k_j> of some keys.
  void dots(std::int64_t row, kernels::KeyRange keys, std::vector<float>& dot_j) const;

  const capture::CaptureView& view_;
  std::int64_t record_ = 0;
  int layer_ = 0, kv_head_ = -1;
  bool base_ = false;
  capture::LayerGeometry geometry_;
  kernels::KeyRange rows_;
  std::vector<std::int64_t> chosen_;  ///< rows whose queries were read, ascending; empty = all
  Buffer<float> lse_hi_, q_nd_, k_jd_;
  capture::KeyPanel panel_;
  std::optional<capture::ReplayHead> head_;
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
