#include "core/engine/forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/layer_facts.h"
#include "core/engine/rope.h"
#include "kernels/linear.h"

namespace headlight::engine {
namespace {

using formats::BlockKind;
using formats::ModelSpec;

constexpr std::int64_t kEmbeddingRowsPerTask = 32;
constexpr std::int64_t kFiniteRowsPerTask = 128;

/// Calls body(first_row, rows) for consecutive blocks of at most kRowBlock rows.
template <class Body>
void for_row_blocks(std::int64_t n, const Body& body) {
  for (std::int64_t first = 0; first < n; first += kRowBlock) body(first, std::min(kRowBlock, n - first));
}

void embed(const Engine::Impl& engine, const ForwardRequest& request, float* x_id) {
  const std::int64_t d = engine.spec().hidden_size, n = static_cast<std::int64_t>(request.ids.size());
  const kernels::MatrixView& positions = engine.weights.position_embedding;
  const auto embed_rows = [&](std::int64_t begin, std::int64_t end) {
    Buffer<float> position(positions.rows > 0 ? static_cast<std::size_t>(d) : 0);
    for (std::int64_t i = begin; i < end; ++i) {
      float* row = x_id + i * d;
      kernels::dequantize_rows(engine.weights.token_embedding, request.ids[static_cast<std::size_t>(i)], 1, row);
      if (engine.embedding_scale != 1.0f)
        for (std::int64_t e = 0; e < d; ++e) row[e] *= engine.embedding_scale;
      if (positions.rows == 0) continue;
      kernels::dequantize_rows(positions, request.start + i, 1, position.data());
      for (std::int64_t e = 0; e < d; ++e) row[e] += position[static_cast<std::size_t>(e)];
    }
  };
  if (n < kEmbeddingRowsPerTask) return embed_rows(0, n);
  engine.pool.parallel_for((n + kEmbeddingRowsPerTask - 1) / kEmbeddingRowsPerTask, [&](std::int64_t task, int) {
    embed_rows(task * kEmbeddingRowsPerTask, std::min(n, (task + 1) * kEmbeddingRowsPerTask));
  });
}

// x * 0 is 0 for every finite x and NaN otherwise; eight independent sums keep the adder busy.
bool all_finite(const float* x, std::int64_t count) {
  float sums[8] = {};
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += x[k + lane] * 0.0f;
  for (; k < count; ++k) sums[0] += x[k] * 0.0f;
  float sum = 0.0f;
  for (const float lane : sums) sum += lane;
  return sum == 0.0f;
}

[[noreturn]] void report_nonfinite(const float* x, std::int64_t n, std::int64_t width, std::int64_t start,
                                   const std::string& tensor) {
  std::int64_t count = 0, first = -1;
  for (std::int64_t k = 0; k < n * width; ++k) {
    if (std::isfinite(x[k])) continue;
    if (first < 0) first = k / width;
    ++count;
  }
  throw Error(Errc::failed,
              fmt::format("NaN or Inf appeared in {}: {} values, first at token {}", tensor, count, start + first));
}

/// Throws when a row of x [n][width] holds NaN or Inf; row 0 is token `start`.
template <class Name>
void check_finite(const Engine::Impl& engine, const float* x, std::int64_t n, std::int64_t width, std::int64_t start,
                  const Name& name) {
  std::atomic<bool> finite{true};
  if (n < kFiniteRowsPerTask) {
    finite = all_finite(x, n * width);
  } else {
    engine.pool.parallel_for((n + kFiniteRowsPerTask - 1) / kFiniteRowsPerTask, [&](std::int64_t task, int) {
      const std::int64_t begin = task * kFiniteRowsPerTask, rows = std::min(kFiniteRowsPerTask, n - begin);
      if (!all_finite(x + begin * width, rows * width)) finite = false;
    });
  }
  if (!finite) report_nonfinite(x, n, width, start, name());
}

void round_values(ThreadPool& pool, DType dtype, float* values, std::int64_t count) {
  if (dtype == DType::f32) return;
  constexpr std::int64_t kPerTask = 1 << 15;
  pool.parallel_for((count + kPerTask - 1) / kPerTask, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(count, (task + 1) * kPerTask);
    for (std::int64_t k = task * kPerTask; k < end; ++k)
      values[k] = dtype == DType::bf16 ? bf16_to_f32(f32_to_bf16(values[k])) : f16_to_f32(f32_to_f16(values[k]));
  });
}

// One forward pass: the buffers of a call and the steps of a layer.
class Pass {
 public:
  Pass(const Engine::Impl& engine, Workspace& workspace, KvCache& cache, LayerFacts& facts,
       const ForwardRequest& request)
      : engine_(engine),
        spec_(engine.spec()),
        workspace_(workspace),
        cache_(cache),
        facts_(facts),
        request_(request),
        n_(static_cast<std::int64_t>(request.ids.size())),
        d_(spec_.hidden_size),
        q_size_(std::int64_t{spec_.num_heads} * spec_.head_dim),
        kv_size_(std::int64_t{spec_.num_kv_heads} * spec_.head_dim) {
    const std::int64_t block = std::min(n_, kRowBlock);
    x_id_ = ensure(workspace.x_id, n_ * d_);
    q_ihd_ = ensure(workspace.q_ihd, n_ * q_size_);
    k_igd_ = ensure(workspace.k_igd, n_ * kv_size_);
    v_igd_ = ensure(workspace.v_igd, n_ * kv_size_);
    attn_ihd_ = ensure(workspace.attn_ihd, n_ * q_size_);
    norm_id_ = ensure(workspace.norm_id, block * d_);
    out_id_ = ensure(workspace.out_id, block * d_);
    prepare_rope();
  }

  void run() {
    embed(engine_, request_, x_id_);
    if (request_.edits != nullptr && request_.start == 0) request_.edits->embedded(x_id_);
    check_finite(engine_, x_id_, n_, d_, request_.start, [] { return std::string("the embeddings"); });
    for (int layer = 0; layer < spec_.num_layers; ++layer) {
      throw_if_stopped(request_.stop);
      if (request_.edits != nullptr) request_.edits->residual(layer, request_.start, n_, x_id_);
      if (request_.observer != nullptr) facts_.hidden(request_, layer, x_id_);
      if (request_.edits != nullptr && request_.start == 0) request_.edits->entering(engine_.pool, layer, x_id_);
      run_layer(layer);
      check_finite(engine_, x_id_, n_, d_, request_.start,
                   [&] { return fmt::format("the residual stream after layer {}", layer); });
      if (request_.observer != nullptr) request_.observer->layer_done(layer);
      if (request_.progress)
        request_.progress(
            {request_.phase, layer + 1, spec_.num_layers, request_.start + n_ * (layer + 1) / spec_.num_layers});
    }
    if (request_.observer != nullptr) facts_.hidden(request_, spec_.num_layers, x_id_);
  }

 private:
  void prepare_rope() {
    if (spec_.rotary_dim == 0) return;
    const std::int64_t length = request_.start + n_;
    const auto fill = [&](const formats::RopeSpec& rope, Buffer<float>& table) {
      const RopeFrequencies frequencies = rope_frequencies(rope, spec_.rotary_dim, spec_.context_length, length);
      fill_rope_table(engine_.pool, frequencies, request_.start, n_, ensure(table, n_ * spec_.rotary_dim));
    };
    const auto sliding_layers = std::count(spec_.is_sliding.begin(), spec_.is_sliding.end(), 1);
    if (sliding_layers < spec_.num_layers) fill(spec_.rope, workspace_.rope_full);
    if (sliding_layers > 0) fill(spec_.rope_sliding, workspace_.rope_sliding);
  }

  void run_layer(int number) {
    const LayerWeights& layer = engine_.weights.layers[static_cast<std::size_t>(number)];
    project_qkv(layer);
    rotate(number, layer);
    store_operands(number);
    run_attention(number);
    if (request_.edits != nullptr)
      request_.edits->head_outputs(engine_.pool, number, request_.start, n_, attn_ihd_, q_size_);
    for_row_blocks(n_, [&](std::int64_t first, std::int64_t rows) {
      throw_if_stopped(request_.stop);
      add_attention(number, layer, first, rows);
      add_feed_forward(number, layer, first, rows);
    });
  }

  void project_qkv(const LayerWeights& layer) {
    for_row_blocks(n_, [&](std::int64_t first, std::int64_t rows) {
      const float* in = x_id_ + first * d_;
      if (spec_.block != BlockKind::post_norm) {
        normalize(engine_, layer.attn_norm, in, norm_id_, rows, d_);
        in = norm_id_;
      }
      project(engine_, workspace_, layer.q, in, rows, d_, q_ihd_ + first * q_size_, q_size_);
      project(engine_, workspace_, layer.k, in, rows, d_, k_igd_ + first * kv_size_, kv_size_);
      project(engine_, workspace_, layer.v, in, rows, d_, v_igd_ + first * kv_size_, kv_size_);
    });
  }

  void rotate(int number, const LayerWeights& layer) {
    const float eps = static_cast<float>(spec_.norm_eps);
    if (spec_.qk_norm == ModelSpec::QkNorm::per_head) {
      kernels::rms_norm_heads(engine_.pool, q_ihd_, n_, q_size_, spec_.num_heads, spec_.head_dim, layer.q_norm, eps);
      kernels::rms_norm_heads(engine_.pool, k_igd_, n_, kv_size_, spec_.num_kv_heads, spec_.head_dim, layer.k_norm,
                              eps);
    } else if (spec_.qk_norm == ModelSpec::QkNorm::whole) {
      kernels::rms_norm(engine_.pool, q_ihd_, q_ihd_, n_, q_size_, layer.q_norm, eps);
      kernels::rms_norm(engine_.pool, k_igd_, k_igd_, n_, kv_size_, layer.k_norm, eps);
    }
    if (spec_.rotary_dim == 0) return;
    const float* table = is_sliding_layer(spec_, number) ? workspace_.rope_sliding.data() : workspace_.rope_full.data();
    kernels::rope(engine_.pool, q_ihd_, n_, q_size_, spec_.num_heads, spec_.head_dim, spec_.rotary_dim, table);
    kernels::rope(engine_.pool, k_igd_, n_, kv_size_, spec_.num_kv_heads, spec_.head_dim, spec_.rotary_dim, table);
  }

  void store_operands(int number) {
    round_values(engine_.pool, request_.operand_dtype, q_ihd_, n_ * q_size_);
    for (const DType dtype : {request_.operand_dtype, cache_.dtype()}) {
      round_values(engine_.pool, dtype, k_igd_, n_ * kv_size_);
      round_values(engine_.pool, dtype, v_igd_, n_ * kv_size_);
    }
    cache_.store(engine_.pool, number, request_.start, n_, k_igd_, v_igd_, kv_size_);
  }

  void run_attention(int number) {
    AttentionCall call;
    call.in = attention_inputs(engine_, cache_, number, request_.start, n_, q_ihd_, q_size_);
    call.out_ihd = attn_ihd_;
    call.out_stride = q_size_;
    call.k_igd = k_igd_;
    call.v_igd = v_igd_;
    call.kv_row_stride = kv_size_;
    if (request_.edits != nullptr) {
      if (request_.start == 0)
        request_.edits->find_keys(engine_.pool, workspace_.attention, number, call.in, attn_ihd_, q_size_);
      call.in.program_h = request_.edits->rows(number);
    }
    if (request_.hook != nullptr) return request_.hook->attention(number, engine_.pool, workspace_.attention, call);
    const AttentionWish* wish = request_.observer != nullptr ? request_.observer->wish(number) : nullptr;
    if (wish != nullptr) return facts_.attention(request_, number, *wish, workspace_.attention, call);
    kernels::attention(engine_.pool, workspace_.attention, call.in, call.out_ihd, call.out_stride, nullptr, nullptr);
  }

  void add_attention(int number, const LayerWeights& layer, std::int64_t first, std::int64_t rows) {
    project(engine_, workspace_, layer.output, attn_ihd_ + first * q_size_, rows, q_size_, out_id_, d_);
    if (spec_.block != BlockKind::pre_norm) normalize(engine_, layer.post_attention_norm, out_id_, out_id_, rows, d_);
    change_block(number, intervention::BlockStep::Block::attention, first, rows);
    kernels::add(engine_.pool, x_id_ + first * d_, out_id_, rows * d_);
  }

  void add_feed_forward(int number, const LayerWeights& layer, std::int64_t first, std::int64_t rows) {
    float* x = x_id_ + first * d_;
    const float* in = x;
    if (spec_.block != BlockKind::post_norm) {
      normalize(engine_, layer.ffn_norm, x, norm_id_, rows, d_);
      in = norm_id_;
    }
    UnitHook units;
    if (request_.edits != nullptr && request_.edits->changes_units(number))
      units = [&](float* h_if, std::int64_t width) {
        request_.edits->hidden_units(number, request_.start + first, rows, h_if, width);
      };
    feed_forward(engine_, workspace_, layer, in, rows, out_id_, units);
    if (spec_.block != BlockKind::pre_norm) normalize(engine_, layer.post_ffw_norm, out_id_, out_id_, rows, d_);
    change_block(number, intervention::BlockStep::Block::feed_forward, first, rows);
    kernels::add(engine_.pool, x, out_id_, rows * d_);
  }

  void change_block(int number, intervention::BlockStep::Block block, std::int64_t first, std::int64_t rows) {
    if (request_.edits != nullptr) request_.edits->block_output(number, block, request_.start + first, rows, out_id_);
  }

  const Engine::Impl& engine_;
  const ModelSpec& spec_;
  Workspace& workspace_;
  KvCache& cache_;
  LayerFacts& facts_;
  const ForwardRequest& request_;
  std::int64_t n_, d_, q_size_, kv_size_;
  float *x_id_, *q_ihd_, *k_igd_, *v_igd_, *attn_ihd_, *norm_id_, *out_id_;
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
