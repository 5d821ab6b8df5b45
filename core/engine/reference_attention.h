#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "core/engine/engine.h"

namespace headlight::engine {

/// One row of one map, in double.
struct ReferenceRow {
  int layer = 0, head = 0;
  std::int64_t query = 0;
  std::span<const double> attn_j;  ///< over keys [0, query]
  double score_absmax = 0;         ///< largest |score| of a visible key
};
struct ReferenceOptions {
  int last_layer = -1;               ///< the run ends after it; -1 = all
  DType operand_dtype = DType::f32;  ///< what q, k and v are rounded to before they are multiplied
  std::span<const intervention::Intervention> interventions = {};
  std::int64_t num_prompt_tokens = 0;  ///< for interventions: the first ids; 0 = all
};
using ReferenceVisitor = std::function<void(const ReferenceRow& row)>;

/// Runs the model again with float64 attention (scores, softmax and the weighted sum in double, rows materialised one
/// at a time) and hands every row of every map to `visit`: the independent forward that `verify --model` compares
/// replayed maps with. Interventions act as their float64 twins say. Everything else (projections, norms) is the
/// ordinary f32 arithmetic.
/// @param visit  called from one thread, layer by layer, head by head, rows ascending
/// @error cancelled; unsupported (a model that is not causal)
void reference_forward(Engine& engine, std::span<const std::int32_t> ids, const ReferenceOptions& options,
                       const ReferenceVisitor& visit, const ProgressCallback& progress = {}, std::stop_token stop = {});

}  // namespace headlight::engine
