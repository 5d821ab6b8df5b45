#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/engine/row_arrays.h"
#include "kernels/attention.h"

namespace headlight::engine {

/// What an observer wants to know about the attention of one layer.
struct AttentionWish {
  kernels::AttentionStatisticsPlan plan;     ///< without a tap
  ColumnArrays* columns = nullptr;           ///< added to; required
  ColumnArrays* base_columns = nullptr;      ///< not null: statistics without interventions too; added to
  bool columns_later = false;                ///< they need not be complete before Runner::finish_columns()
  bool operands = false;                     ///< q, k and v of the rows
  int topk = 0;                              ///< entries of the rows below
  std::vector<std::int64_t> topk_positions;  ///< ascending query rows
};

/// What was found out about one layer's attention.
struct AttentionFacts {
  capture::LayerRows rows;  ///< complete but for `index`
  std::span<const capture::TopkRow> topk;
  const capture::LayerRows* base = nullptr;  ///< row statistics without interventions, where they were wished for
};

/// Told about a forward pass, layer by layer, in the order hidden(l), attended(l), layer_done(l); arrays live until the
/// call returns. On a device the pass may be ahead by a layer.
class LayerObserver {
 public:
  virtual ~LayerObserver() = default;

  /// Null = nothing; must live until attended().
  virtual const AttentionWish* wish(int layer) = 0;
  virtual void attended(int layer, const AttentionFacts& facts) = 0;

  virtual bool wants_states() const = 0;  ///< rows.x_id of hidden()
  /// Level = layer that the rows enter; num_layers: before the final norm.
  virtual void hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive) = 0;

  virtual void layer_done(int /*layer*/) {}
};

}  // namespace headlight::engine
