#pragma once

#include <vector>

#include "core/engine/hidden_facts.h"
#include "core/engine/probe_common.h"

namespace headlight::engine {

/// Records a prompt: every layer's rows go to the sink as soon as the layer's attention is known.
class PromptProbe final : public LayerObserver {
 public:
  explicit PromptProbe(RecordContext& context);

  const AttentionWish* wish(int layer) override;
  void attended(int layer, const AttentionFacts& facts) override;
  bool wants_states() const override { return context_.plan.hidden_states; }
  void hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive) override;
  void layer_done(int layer) override;

  /// Layers that are complete.
  int layers_done() const { return layers_done_; }

 private:
  RecordContext& context_;
  std::vector<AttentionWish> wishes_;  // per recorded layer
  int layers_done_ = 0;
};

/// Records generated rows in small blocks, so that a sink with an expensive write is called once per block and layer.
class DecodeProbe final : public LayerObserver {
 public:
  static constexpr std::int64_t kBlockRows = 16;

  explicit DecodeProbe(RecordContext& context);

  const AttentionWish* wish(int layer) override;
  void attended(int layer, const AttentionFacts& facts) override;
  bool wants_states() const override { return context_.plan.hidden_states; }
  void hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive) override;

  void row_done() { ++count_; }
  bool full() const { return count_ == kBlockRows; }
  /// Writes the rows that are done.
  void flush();

  static std::int64_t bytes(const formats::ModelSpec& spec, const capture::CapturePlan& plan, int num_groups);

 private:
  struct LayerBlock {
    LayerBlock(const formats::ModelSpec& spec, int num_groups, bool operands, bool with_base);
    RowLayout layout;
    Buffer<float> rows, base;                             // [layout.size()]; base: without interventions, or empty
    Buffer<float> key_norm_gi, value_norm_gi, u_norm_hi;  // [heads][kBlockRows]
    Buffer<float> q_ihd, k_igd, v_igd;                    // [kBlockRows][...], with operands
  };
  struct LevelBlock {
    HiddenFacts facts{kBlockRows};
    std::vector<float> states;  // [kBlockRows][d] when hidden states are kept
  };
  void write_layer(int index);
  void write_level(int level);

  RecordContext& context_;
  std::vector<AttentionWish> wishes_;  // per recorded layer
  std::vector<LayerBlock> blocks_;
  std::vector<LevelBlock> levels_;
  std::vector<capture::MassiveActivation> massive_;
  std::int64_t first_row_, count_ = 0;
};

}  // namespace headlight::engine
