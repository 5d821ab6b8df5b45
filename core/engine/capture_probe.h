#pragma once

#include <vector>

#include "core/engine/probe_common.h"
#include "core/engine/topk_tap.h"

namespace headlight::engine {

/// Records a prompt: every layer's rows go to the sink as soon as the layer's attention is done.
class PromptProbe final : public LayerObserver {
 public:
  explicit PromptProbe(RecordContext& context);

  DType operand_dtype() const override { return context_.operand_dtype(); }
  void hidden(int level, std::int64_t start, const float* x_id, std::int64_t n) override;
  void attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                 const AttentionCall& call) override;
  void layer_done(int layer) override;

  /// Layers that are complete.
  int layers_done() const { return layers_done_; }

 private:
  void write_rows(int layer, int index, const AttentionCall& call);

  RecordContext& context_;
  RowArrays rows_;
  HiddenFacts facts_;
  TopkTap topk_;
  Buffer<float> key_norm_gi_, value_norm_gi_, u_norm_hi_;
  int layers_done_ = 0;
};

/// Records generated rows in small blocks, so that a sink with an expensive write is called once per block and layer.
class DecodeProbe final : public LayerObserver {
 public:
  static constexpr std::int64_t kBlockRows = 16;

  explicit DecodeProbe(RecordContext& context);

  DType operand_dtype() const override { return context_.operand_dtype(); }
  void hidden(int level, std::int64_t start, const float* x_id, std::int64_t n) override;
  void attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                 const AttentionCall& call) override;

  void row_done() { ++count_; }
  bool full() const { return count_ == kBlockRows; }
  /// Writes the rows that are done.
  void flush();

  static std::int64_t bytes(const formats::ModelSpec& spec, const capture::CapturePlan& plan, int num_groups);

 private:
  struct LayerBlock {
    LayerBlock(const formats::ModelSpec& spec, int num_groups);
    RowArrays rows;
    Buffer<float> q_ihd, k_igd, v_igd;  // [kBlockRows][...]
    kernels::AttentionInputs inputs;    // of the last row, for dense maps: the cache is as large as the record
  };
  void write_layer(int layer, int index);

  RecordContext& context_;
  std::vector<LayerBlock> blocks_;  // per recorded layer
  std::vector<HiddenFacts> facts_;  // per level
  std::vector<float> states_;       // [L+1][kBlockRows][d] when hidden states are kept
  Buffer<float> key_norm_gi_, value_norm_gi_, u_norm_hi_;
  std::int64_t first_row_, count_ = 0;
};

}  // namespace headlight::engine
