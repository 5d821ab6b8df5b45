#pragma once

#include <optional>
#include <vector>

#include "core/engine/hidden_facts.h"
#include "core/engine/row_arrays.h"
#include "core/engine/runner.h"
#include "core/engine/topk_tap.h"
#include "core/engine/value_norms.h"

namespace headlight::engine {

/// What passes of one sequence on the CPU find out for their observers.
class LayerFacts {
 public:
  LayerFacts(const Engine::Impl& engine, const SequenceUse& use);

  /// Facts and massive activations of the rows of a pass that enter a layer, x_id [n][d].
  void hidden(const ForwardRequest& request, int level, const float* x_id);

  /// Runs attention with all that is wished for, then tells the observer.
  void attention(const ForwardRequest& request, int layer, const AttentionWish& wish,
                 kernels::AttentionWorkspace& workspace, const AttentionCall& call);

 private:
  capture::LayerRows base_rows(const AttentionWish& wish, kernels::AttentionWorkspace& workspace,
                               const AttentionCall& call);
  void prepare_topk(const AttentionWish& wish);
  void find_norms(PhaseClock& clock, int layer, const AttentionCall& call, capture::LayerRows& rows);

  const Engine::Impl& engine_;
  const bool rows_follow_;
  ValueNorms value_norms_;
  Buffer<float> rows_, base_rows_;
  Buffer<float> key_norm_gi_, value_norm_gi_, u_norm_hi_;
  std::optional<TopkTap> topk_;
  std::optional<HiddenFacts> facts_;
  std::vector<float> first_states_;  // [L+1][d] of the first token
  std::vector<float> medians_;       // [L+1] of |x| over the prompt; infinity = nothing there is massive
};

}  // namespace headlight::engine
