#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "core/capture/capture_sink.h"

namespace headlight::capture {

enum class CompleteState : std::uint8_t { writing = 0, sealed = 1, partial = 2 };

struct RecordInfo {
  RecordHeader header;        ///< tokens include generated ones
  std::int64_t num_rows = 0;  ///< rows that are really there
  std::int64_t num_generated = 0;
  std::vector<float> generated_logprob;
  bool has_replay = false, has_values = false, has_columns = false, has_overview = false, has_dense = false,
       has_topk = false, has_hidden_states = false;
  DType replay_dtype = DType::f32;
  std::int64_t replay_row_begin = 0, replay_row_end = 0;
  std::int64_t block_edge = 0, block_count = 0;
};

/// Read side of a capture, whether a file or memory. `layer` arguments are indices into plan().layers (not model layer
/// numbers), `r` counts records. Missing data is Error{invalid_argument} naming what was asked and what is there; NaN
/// in an array means "not recorded".
class CaptureView {
 public:
  virtual ~CaptureView() = default;
  virtual const CaptureHeader& header() const = 0;
  virtual CompleteState complete() const = 0;
  virtual std::string uuid() const = 0;
  virtual std::string name() const = 0;  ///< file path, or "memory"
  virtual std::int64_t num_records() const = 0;
  virtual RecordInfo record(std::int64_t r) const = 0;

  /// Row or column statistic (jmax as float) of all heads of a layer: [H][num_rows].
  virtual Buffer<float> statistic(std::int64_t r, std::string_view id, int layer) const = 0;
  /// Head statistic, or mean over valid rows of a row statistic: [L][H] of recorded layers. Corpora answer this for
  /// every record without opening record data.
  virtual Buffer<float> head_statistic(std::int64_t r, std::string_view id) const = 0;
  virtual std::vector<std::string> available_statistics(std::int64_t r) const = 0;

  /// q of rows [begin, end), [end - begin][D]; k, v of keys of the head's KV group. Values as multiplied (widened to
  /// f32).
  virtual void read_q(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const = 0;
  virtual void read_k(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end,
                      float* out) const = 0;
  virtual void read_v(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end,
                      float* out) const = 0;
  /// What interventions did to the rows of a layer; empty = nothing.
  virtual RowPlan row_plan(std::int64_t /*r*/, int /*layer*/) const { return {}; }
  virtual bool head_recorded(std::int64_t r, int layer, int head) const = 0;

  virtual Buffer<float> block_sum(std::int64_t r, int layer, int head) const = 0;  ///< [B][B]
  virtual Buffer<float> block_max(std::int64_t r, int layer, int head) const = 0;  ///< [B][B]
  virtual Buffer<float> dense(std::int64_t r, int layer, int head) const = 0;      ///< [N][N]
  virtual std::vector<TopkRow> topk(std::int64_t r, int layer, int head) const = 0;
  /// "norm_l2", "absmax", "mean", "rms", "cos_first" [L+1][N]; "key_norm", "value_norm" [L][G][N]; "u_norm" [L][H][N];
  /// "x" [L+1][N][d], the states themselves, where the plan asked for them.
  virtual Buffer<float> hidden(std::int64_t r, std::string_view id) const = 0;
  /// Residual states of level 0..L, [end - begin][hidden_size]; there only with RecordInfo::has_hidden_states.
  virtual void read_states(std::int64_t r, int level, std::int64_t begin, std::int64_t end, float* out) const = 0;
  /// Massive activations of all levels, in the order in which they were found.
  virtual std::vector<MassiveActivation> massive(std::int64_t r) const = 0;
  virtual Buffer<float> last_logits(std::int64_t r) const = 0;  ///< [V] of the last prompt position
};

}  // namespace headlight::capture
