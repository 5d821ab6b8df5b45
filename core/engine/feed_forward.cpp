#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/engine/engine_impl.h"

namespace headlight::engine {
namespace {

using formats::Activation;
using formats::ModelSpec;

}  // namespace

kernels::ActivationKind activation_kind(const ModelSpec& spec) {
  if (spec.clamped_swiglu) return kernels::ActivationKind::clamped_swiglu;
  switch (spec.activation) {
    case Activation::silu:
      return kernels::ActivationKind::silu;
    case Activation::gelu_exact:
      return kernels::ActivationKind::gelu_exact;
    case Activation::gelu_tanh:
      return kernels::ActivationKind::gelu_tanh;
    case Activation::quick_gelu:
      return kernels::ActivationKind::quick_gelu;
  }
  return kernels::ActivationKind::silu;
}

namespace {

void dense(const Engine::Impl& engine, Workspace& workspace, const LayerWeights& layer, const float* x_id,
           std::int64_t n, float* out_id, const UnitHook& units) {
  const ModelSpec& spec = engine.spec();
  const std::int64_t d = spec.hidden_size, ff = spec.intermediate_size;
  float* up = ensure(workspace.up, n * ff);
  project(engine, workspace, layer.up, x_id, n, d, up, ff);
  if (spec.gated_ffn) {
    float* gate = ensure(workspace.gate, n * ff);
    project(engine, workspace, layer.gate, x_id, n, d, gate, ff);
    kernels::gated_activation(engine.pool, activation_kind(spec), gate, up, up, n * ff);
  } else {
    kernels::activation(engine.pool, activation_kind(spec), up, n * ff);
  }
  if (units) units(up, ff);
  project(engine, workspace, layer.down, up, n, ff, out_id, d);
}

/// One token's way through one expert.
struct Route {
  std::int64_t row;
  float weight;
};

// The k largest router logits of a row (ties: smaller expert) with the softmax over those k as weights.
void route_row(const float* logits, std::int64_t experts, std::int64_t k, std::int64_t row,
               std::vector<std::vector<Route>>& routes_of_expert) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(experts));
  for (std::int64_t e = 0; e < experts; ++e) order[static_cast<std::size_t>(e)] = e;
  const auto key = [&](std::int64_t e) {  // NaN last: the order must be total; the end of the layer reports it
    return std::isnan(logits[e]) ? -std::numeric_limits<float>::infinity() : logits[e];
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(),
                    [&](std::int64_t a, std::int64_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  const float top = logits[order[0]];
  float sum = 0.0f;
  for (std::int64_t c = 0; c < k; ++c) sum += std::exp(logits[order[static_cast<std::size_t>(c)]] - top);
  for (std::int64_t c = 0; c < k; ++c) {
    const std::int64_t e = order[static_cast<std::size_t>(c)];
    routes_of_expert[static_cast<std::size_t>(e)].push_back({row, std::exp(logits[e] - top) / sum});
  }
}

// Runs one expert on the rows routed to it and adds their weighted outputs. Experts run in ascending order, so a row's
// sum always has the same order.
void run_expert(const Engine::Impl& engine, Workspace& workspace, const ExpertWeights& experts, std::int64_t expert,
                const std::vector<Route>& routes, const float* x_id, float* out_id) {
  const ModelSpec& spec = engine.spec();
  const std::int64_t d = spec.hidden_size, ff = spec.intermediate_size, n = static_cast<std::int64_t>(routes.size());
  float* in = ensure(workspace.expert_in, n * d);
  float* out = ensure(workspace.expert_out, n * d);
  float* gate = ensure(workspace.gate, n * ff);
  float* up = ensure(workspace.up, n * ff);
  for (std::int64_t r = 0; r < n; ++r) std::copy_n(x_id + routes[static_cast<std::size_t>(r)].row * d, d, in + r * d);
  project(engine, workspace, row_slice(experts.gate, expert * ff, ff), in, n, d, gate, ff);
  project(engine, workspace, row_slice(experts.up, expert * ff, ff), in, n, d, up, ff);
  kernels::gated_activation(engine.pool, activation_kind(spec), gate, up, up, n * ff);
  project(engine, workspace, row_slice(experts.down, expert * d, d), up, n, ff, out, d);
  for (std::int64_t r = 0; r < n; ++r) {
    const Route& route = routes[static_cast<std::size_t>(r)];
    float* sum = out_id + route.row * d;
    for (std::int64_t e = 0; e < d; ++e) sum[e] += route.weight * out[r * d + e];
  }
}

void mixture(const Engine::Impl& engine, Workspace& workspace, const LayerWeights& layer, const float* x_id,
             std::int64_t n, float* out_id) {
  const ModelSpec& spec = engine.spec();
  const std::int64_t d = spec.hidden_size, experts = spec.moe.num_experts;
  const std::int64_t k = std::min<std::int64_t>(spec.moe.experts_per_token, experts);
  float* logits = ensure(workspace.router, n * experts);
  const Linear& router = layer.experts.router;  // full precision: a small error here changes which experts run
  kernels::linear(engine.pool, workspace.linear, router.w, x_id, n, d, logits, experts, router.bias);
  std::vector<std::vector<Route>> routes_of_expert(static_cast<std::size_t>(experts));
  for (std::int64_t row = 0; row < n; ++row) route_row(logits + row * experts, experts, k, row, routes_of_expert);
  std::fill_n(out_id, n * d, 0.0f);
  for (std::int64_t e = 0; e < experts; ++e) {
    const auto& routes = routes_of_expert[static_cast<std::size_t>(e)];
    if (!routes.empty()) run_expert(engine, workspace, layer.experts, e, routes, x_id, out_id);
  }
}

}  // namespace

void feed_forward(const Engine::Impl& engine, Workspace& workspace, const LayerWeights& layer, const float* x_id,
                  std::int64_t n, float* out_id, const UnitHook& units) {
  if (engine.spec().moe.num_experts > 0) {
    mixture(engine, workspace, layer, x_id, n, out_id);
  } else {
    dense(engine, workspace, layer, x_id, n, out_id, units);
  }
}

}  // namespace headlight::engine
