#include "core/engine/forward.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/layer_facts.h"
#include "core/engine/row_steps.h"
#include "kernels/linear.h"

namespace headlight::engine {
namespace {

using formats::ModelSpec;

// One forward pass of one sequence.
class Pass {
 public:
  Pass(const Engine::Impl& engine, Workspace& workspace, KvCache& cache, LayerFacts& facts,
       const ForwardRequest& request)
      : engine_(engine),
        workspace_(workspace),
        cache_(cache),
        facts_(facts),
        request_(request),
        n_(std::ssize(request.ids)),
        steps_(engine, workspace, std::array{RowRun{n_, request.start, request.start + n_}}, request.stop) {
    steps_.set_edits(std::array{request.edits});
  }

  void run() {
    const int num_layers = engine_.spec().num_layers;
    if (request_.first_layer == 0)
      steps_.embed(request_.ids);
    else
      std::copy_n(request_.entering_id, n_ * engine_.spec().hidden_size, steps_.x_id);
    for (int layer = request_.first_layer; layer < num_layers; ++layer) {
      throw_if_stopped(request_.stop);
      steps_.enter_layer(layer);
      if (request_.observer != nullptr) facts_.hidden(request_, layer, steps_.x_id);
      run_layer(layer);
      steps_.check([&] { return fmt::format("the residual stream after layer {}", layer); });
      if (request_.observer != nullptr) request_.observer->layer_done(layer);
      if (request_.progress)
        request_.progress({request_.phase, layer + 1, num_layers, request_.start + n_ * (layer + 1) / num_layers});
    }
    if (request_.observer != nullptr) facts_.hidden(request_, num_layers, steps_.x_id);
  }

 private:
  void run_layer(int number) {
    const LayerWeights& layer = engine_.weights.layers[static_cast<std::size_t>(number)];
    steps_.project_qkv(layer);
    steps_.rotate(number, layer);
    steps_.round_operands(request_.operand_dtype, cache_.dtype());
    cache_.store(engine_.pool, number, request_.start, n_, steps_.k_igd, steps_.v_igd, steps_.kv_size());
    run_attention(number);
    if (request_.edits != nullptr)
      request_.edits->head_outputs(engine_.pool, number, request_.start, n_, steps_.attn_ihd, steps_.q_size());
    steps_.finish_layer(number, layer);
  }

  void run_attention(int number) {
    AttentionCall call;
    call.in = attention_inputs(engine_, cache_, number, request_.start, n_, steps_.q_ihd, steps_.q_size());
    call.out_ihd = steps_.attn_ihd;
    call.out_stride = steps_.q_size();
    call.k_igd = steps_.k_igd;
    call.v_igd = steps_.v_igd;
    call.kv_row_stride = steps_.kv_size();
    if (request_.edits != nullptr) {
      if (request_.start == 0)
        request_.edits->find_keys(engine_.pool, workspace_.attention, number, call.in, call.out_ihd, call.out_stride);
      call.in.program_h = request_.edits->rows(number);
    }
    if (request_.hook != nullptr) return request_.hook->attention(number, engine_.pool, workspace_.attention, call);
    const AttentionWish* wish = request_.observer != nullptr ? request_.observer->wish(number) : nullptr;
    if (wish != nullptr) return facts_.attention(request_, number, *wish, workspace_.attention, call);
    kernels::attention(engine_.pool, workspace_.attention, call.in, call.out_ihd, call.out_stride, nullptr, nullptr);
  }

  const Engine::Impl& engine_;
  Workspace& workspace_;
  KvCache& cache_;
  LayerFacts& facts_;
  const ForwardRequest& request_;
  std::int64_t n_;
  RowSteps steps_;
};

}  // namespace

kernels::AttentionInputs attention_inputs(const Engine::Impl& engine, const KvCache& cache, int layer,
                                          std::int64_t start, std::int64_t n, const float* q_ihd,
                                          std::int64_t q_stride) {
  const ModelSpec& spec = engine.spec();
  kernels::AttentionInputs in;
  in.num_queries = n;
  in.query_start = start;
  in.num_keys = start + n;
  in.num_heads = spec.num_heads;
  in.num_kv_heads = spec.num_kv_heads;
  in.head_dim = spec.head_dim;
  in.q_ihd = q_ihd;
  in.q_stride = q_stride;
  in.kv_dtype = cache.dtype();
  in.k_gjd = cache.keys(layer);
  in.v_gjd = cache.values(layer);
  in.kv_stride = cache.head_stride();
  in.scale = layer_scale(spec, layer);
  in.soft_cap = static_cast<float>(spec.attention_soft_cap);
  in.null_logit_h = engine.weights.layers[static_cast<std::size_t>(layer)].sinks_h;
  in.mask.causal = spec.causal;
  in.mask.window = layer_window(spec, layer);
  return in;
}

void throw_if_stopped(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped on request");
}

void project(const Engine::Impl& engine, Workspace& workspace, const Linear& linear, const float* x, std::int64_t n,
             std::int64_t x_stride, float* y, std::int64_t y_stride) {
  const auto run = engine.options.act_quant == ActivationQuant::q8 ? kernels::linear_q8 : kernels::linear;
  run(engine.pool, workspace.linear, linear.w, x, n, x_stride, y, y_stride, linear.bias);
}

void normalize(const Engine::Impl& engine, const Norm& norm, const float* x, float* y, std::int64_t n, std::int64_t d) {
  const float eps = static_cast<float>(engine.spec().norm_eps);
  if (engine.spec().norm == formats::NormKind::rms) {
    kernels::rms_norm(engine.pool, x, y, n, d, norm.weight, eps);
  } else {
    kernels::layer_norm(engine.pool, x, y, n, d, norm.weight, norm.bias, eps);
  }
}

void forward_layers(const Engine::Impl& engine, Workspace& workspace, KvCache& cache, LayerFacts& facts,
                    const ForwardRequest& request) {
  Pass(engine, workspace, cache, facts, request).run();
}

void output_logits(const Engine::Impl& engine, Workspace& workspace, const float* x_id, std::int64_t n,
                   std::int64_t start, float* logits) {
  const ModelSpec& spec = engine.spec();
  const std::int64_t d = spec.hidden_size, vocab = spec.vocab_size;
  float* norm_id = ensure(workspace.norm_id, std::min(n, kRowBlock) * d);
  for_row_blocks(n, [&](std::int64_t first, std::int64_t rows) {
    normalize(engine, engine.weights.output_norm, x_id + first * d, norm_id, rows, d);
    project(engine, workspace, engine.weights.output, norm_id, rows, d, logits + first * vocab, vocab);
    if (spec.logit_soft_cap > 0)
      kernels::soft_cap(engine.pool, logits + first * vocab, static_cast<float>(spec.logit_soft_cap), rows * vocab);
    check_finite(engine, logits + first * vocab, rows, vocab, start + first, [] { return std::string("the logits"); });
  });
}

}  // namespace headlight::engine
