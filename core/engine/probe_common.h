#pragma once

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/engine/forward.h"
#include "core/engine/hidden_facts.h"
#include "core/engine/value_norms.h"

namespace headlight::engine {

/// Row statistics of one layer, [H][stride] each, in one allocation.
class RowArrays {
 public:
  RowArrays(int num_heads, std::int64_t stride, int num_groups);

  /// Where the kernel writes rows that begin at `slot`.
  kernels::AttentionStatistics statistics(std::int64_t slot);
  /// The same arrays for the sink, from slot 0.
  void describe(capture::LayerRows& rows) const;

  static std::int64_t bytes(int num_heads, std::int64_t stride, int num_groups);

 private:
  float* array(int index) { return values_.data() + index * plane_; }
  const float* array(int index) const { return values_.data() + index * plane_; }

  std::int64_t stride_, plane_;
  int num_groups_;
  Buffer<float> values_;
  Buffer<std::int32_t> jmax_;
};

/// Column statistics of one layer, accumulated over the prompt and generated rows.
struct ColumnArrays {
  ColumnArrays(int num_heads, std::int64_t num_keys, std::int64_t block_count);
  void clear(ThreadPool& pool);
  void attach(kernels::AttentionStatistics& statistics);

  std::int64_t num_heads, num_keys, block_count;
  Buffer<float> received, received_tail, block_sum, block_max;
};

/// Seconds spent, by phase.
class PhaseClock {
 public:
  /// Adds the time until the returned object dies.
  class Scope {
   public:
    explicit Scope(double& seconds) : seconds_(seconds), begin_(std::chrono::steady_clock::now()) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

   private:
    double& seconds_;
    std::chrono::steady_clock::time_point begin_;
  };

  double prefill = 0.0, decode = 0.0, logits = 0.0, norms = 0.0, hidden = 0.0, sink = 0.0;
  std::vector<std::pair<std::string, double>> list() const;
};

/// What the probes of one record share.
struct RecordContext {
  RecordContext(const Engine::Impl& engine, const capture::CapturePlan& plan, const capture::RecordHeader& record,
                capture::CaptureSink& sink, ValueNorms& value_norms, bool generates);

  bool replay() const { return plan.level != capture::CaptureLevel::summary; }
  bool maps() const { return plan.level == capture::CaptureLevel::maps; }
  DType operand_dtype() const { return replay() ? plan.replay_dtype : DType::f32; }
  /// Index into plan.layers, -1 = not recorded.
  int recorded_index(int layer) const { return index_of_layer[static_cast<std::size_t>(layer)]; }
  ColumnArrays& columns_of(int index) { return columns[columns.size() == 1 ? 0 : static_cast<std::size_t>(index)]; }
  bool head_kept(int index, int head) const;

  kernels::AttentionStatisticsPlan statistics_plan() const;
  void write_columns(int index, std::int64_t num_keys);
  /// Facts and massive activations of rows at one level; `slot` is the place in `facts`.
  void observe_hidden(int level, std::int64_t start, const float* x_id, std::int64_t n, HiddenFacts& facts,
                      std::int64_t slot);
  void write_hidden(int level, std::int64_t start, std::int64_t n, const HiddenFacts& facts, const float* x_id);
  /// Dense rows of the kept heads of one layer; lse_hi [H][lse_stride] of the rows of `in`.
  void write_dense(int index, const kernels::AttentionInputs& in, const float* lse_hi, std::int64_t lse_stride);

  const Engine::Impl& engine;
  const capture::CapturePlan& plan;
  const capture::RecordHeader& record;
  capture::CaptureSink& sink;
  ValueNorms& value_norms;
  const bool generates;
  int num_groups = 0;  ///< segments that fit a label; 0 = none
  std::vector<std::uint8_t> group_of_key;
  std::vector<int> index_of_layer;  ///< [L]
  std::int64_t block_edge = 0, block_count = 0;
  std::vector<ColumnArrays> columns;  ///< one per recorded layer when rows are generated, else one for all
  std::vector<float> first_states;    ///< [L+1][d]
  std::vector<float> medians;         ///< [L+1] of |x| over the prompt; infinity = nothing there is massive
  std::vector<capture::MassiveActivation> massive;
  PhaseClock clock;
};

}  // namespace headlight::engine
