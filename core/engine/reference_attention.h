#pragma once

#include <cstdint>
#include <span>

#include "core/engine/engine.h"

namespace headlight::engine {

/// Runs the model again with float64 attention (scores, softmax and the weighted sum in double, rows materialised one
/// at a time) and hands every row of every map to `visit`: the independent forward that `verify --model` compares
/// replayed maps with. Everything else (projections, norms) is the ordinary f32 arithmetic.
/// @param visit  (layer, head, query position, row of A over keys [0, position]) ; called from one thread at a time
void reference_forward(
    Engine& engine, std::span<const std::int32_t> ids,
    const std::function<void(int layer, int head, std::int64_t query, std::span<const double> attn_j)>& visit,
    const ProgressCallback& progress = {}, std::stop_token stop = {});

}  // namespace headlight::engine
