#pragma once

#include <functional>

#include "base/buffer.h"
#include "core/engine/cuda_model.h"
#include "core/engine/engine.h"
#include "core/engine/model_weights.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"

namespace headlight::engine {

struct Engine::Impl {
  Impl(formats::ModelFile model_file, const EngineOptions& engine_options);

  formats::ModelFile model;
  EngineOptions options;
  mutable ThreadPool pool;
  ModelWeights weights;
  float embedding_scale = 1.0f;
  std::unique_ptr<CudaModel> cuda;  ///< the weights on a device; null = the CPU computes

  const formats::ModelSpec& spec() const { return model.spec; }
};

inline bool is_sliding_layer(const formats::ModelSpec& spec, int layer) {
  return !spec.is_sliding.empty() && spec.is_sliding[static_cast<std::size_t>(layer)] != 0;
}
inline float layer_scale(const formats::ModelSpec& spec, int layer) {
  return static_cast<float>(spec.attention_scale / (spec.scale_by_inverse_layer ? layer + 1 : 1));
}
inline std::int64_t layer_window(const formats::ModelSpec& spec, int layer) {
  return is_sliding_layer(spec, layer) ? spec.sliding_window : 0;
}

/// Memory of one sequence in flight. Buffers keep the largest size that was asked for.
struct Workspace {
  Buffer<float> x_id;                           ///< residual stream [n][d]
  Buffer<float> q_ihd, k_igd, v_igd, attn_ihd;  ///< one layer's operands and attention output, all rows of the call
  Buffer<float> norm_id, out_id, gate, up;      ///< one block of rows
  Buffer<float> rope_full, rope_sliding;        ///< [n][rotary_dim]
  Buffer<float> expert_in, expert_out, router;
  kernels::LinearWorkspace linear;
  kernels::AttentionWorkspace attention;
};

/// At least `size` elements; the content is lost when it grows.
inline float* ensure(Buffer<float>& buffer, std::int64_t size) {
  if (buffer.size() < static_cast<std::size_t>(size)) {
    buffer = Buffer<float>();  // free before allocating: the peak is the larger of the two, not the sum
    buffer = Buffer<float>(static_cast<std::size_t>(size));
  }
  return buffer.data();
}

/// Rows that go through the projections and the feed-forward at a time: bounds memory, and a dequantised panel of
/// weights is still used often enough to be cheap.
inline constexpr std::int64_t kRowBlock = 512;

/// y = W x + b in the engine's activation mode.
void project(const Engine::Impl& engine, Workspace& workspace, const Linear& linear, const float* x, std::int64_t n,
             std::int64_t x_stride, float* y, std::int64_t y_stride);

/// RMSNorm or LayerNorm over rows of d; in place allowed.
void normalize(const Engine::Impl& engine, const Norm& norm, const float* x, float* y, std::int64_t n, std::int64_t d);

kernels::ActivationKind activation_kind(const formats::ModelSpec& spec);

/// Changes the hidden units of a dense feed-forward after their activation, [n][width].
using UnitHook = std::function<void(float* h_if, std::int64_t width)>;

/// out_id = feed-forward (dense or experts) of x_id, n <= kRowBlock rows of d.
void feed_forward(const Engine::Impl& engine, Workspace& workspace, const LayerWeights& layer, const float* x_id,
                  std::int64_t n, float* out_id, const UnitHook& units = {});

}  // namespace headlight::engine
