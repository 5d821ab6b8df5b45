#include "core/engine/model_weights.h"

#include <string>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::engine {
namespace {

using formats::BlockKind;
using formats::ModelSpec;
using formats::NormKind;
using formats::Weights;
using formats::WeightTensor;

kernels::MatrixView view(const WeightTensor& tensor) {
  return {static_cast<TensorType>(tensor.type), tensor.rows, tensor.cols, tensor.data};
}

// Reads the tensors below one prefix ("" or "blk.3.").
class Binder {
 public:
  Binder(const Weights& weights, std::string prefix) : weights_(weights), prefix_(std::move(prefix)) {}

  bool has(const std::string& name) const { return weights_.find(prefix_ + name + ".weight") != nullptr; }

  Linear linear(const std::string& name, std::int64_t rows, std::int64_t cols) const {
    return {view(weights_.get(prefix_ + name + ".weight", rows, cols)), bias(name, rows)};
  }

  Norm norm(const std::string& name, std::int64_t size) const {
    return {weights_.vector(prefix_ + name + ".weight", size).data(), bias(name, size)};
  }

  const float* vector(const std::string& name, std::int64_t size) const {
    return weights_.vector(prefix_ + name + ".weight", size).data();
  }

 private:
  // Biases of stacked experts may be stored as [experts][rows] matrices: only their length matters.
  const float* bias(const std::string& name, std::int64_t size) const {
    const WeightTensor* tensor = weights_.find(prefix_ + name + ".bias");
    if (tensor == nullptr) return nullptr;
    if (tensor->rows * tensor->cols != size || tensor->type != TensorType::f32)
      throw Error(Errc::bad_format, fmt::format("tensor '{}{}.bias': expected {} values of type F32, found {}", prefix_,
                                                name, size, tensor->rows * tensor->cols));
    return reinterpret_cast<const float*>(tensor->data);
  }

  const Weights& weights_;
  std::string prefix_;
};

void bind_attention(const ModelSpec& spec, const Binder& layer, LayerWeights& out) {
  const std::int64_t d = spec.hidden_size;
  const std::int64_t q_size = std::int64_t{spec.num_heads} * spec.head_dim;
  const std::int64_t kv_size = std::int64_t{spec.num_kv_heads} * spec.head_dim;
  out.q = layer.linear("attn_q", q_size, d);
  out.k = layer.linear("attn_k", kv_size, d);
  out.v = layer.linear("attn_v", kv_size, d);
  out.output = layer.linear("attn_output", d, q_size);
  if (spec.qk_norm != ModelSpec::QkNorm::none) {
    const bool whole = spec.qk_norm == ModelSpec::QkNorm::whole;
    out.q_norm = layer.vector("attn_q_norm", whole ? q_size : spec.head_dim);
    out.k_norm = layer.vector("attn_k_norm", whole ? kv_size : spec.head_dim);
  }
  if (spec.learned_sinks) out.sinks_h = layer.vector("attn_sinks", spec.num_heads);
}

void bind_feed_forward(const ModelSpec& spec, const Binder& layer, LayerWeights& out) {
  const std::int64_t d = spec.hidden_size, ff = spec.intermediate_size, experts = spec.moe.num_experts;
  if (experts > 0) {
    out.experts.router = layer.linear("ffn_gate_inp", experts, d);
    out.experts.gate = layer.linear("ffn_gate_exps", experts * ff, d);
    out.experts.up = layer.linear("ffn_up_exps", experts * ff, d);
    out.experts.down = layer.linear("ffn_down_exps", experts * d, ff);
    return;
  }
  if (spec.gated_ffn) out.gate = layer.linear("ffn_gate", ff, d);
  out.up = layer.linear("ffn_up", ff, d);
  out.down = layer.linear("ffn_down", d, ff);
}

LayerWeights bind_layer(const ModelSpec& spec, const Weights& weights, int number) {
  const Binder layer(weights, fmt::format("blk.{}.", number));
  const std::int64_t d = spec.hidden_size;
  LayerWeights out;
  if (spec.block != BlockKind::post_norm) {
    out.attn_norm = layer.norm("attn_norm", d);
    // gpt-oss files keep the norm before the experts under the name other models use for the one after attention.
    const bool renamed = spec.block == BlockKind::pre_norm && !layer.has("ffn_norm");
    out.ffn_norm = layer.norm(renamed && layer.has("post_attention_norm") ? "post_attention_norm" : "ffn_norm", d);
  }
  if (spec.block != BlockKind::pre_norm) {
    out.post_attention_norm = layer.norm("post_attention_norm", d);
    out.post_ffw_norm = layer.norm("post_ffw_norm", d);
  }
  bind_attention(spec, layer, out);
  bind_feed_forward(spec, layer, out);
  return out;
}

}  // namespace

ModelWeights bind_weights(const ModelSpec& spec, const Weights& weights) {
  const std::int64_t d = spec.hidden_size;
  const Binder top(weights, "");
  ModelWeights out;
  out.token_embedding = top.linear("token_embd", spec.vocab_size, d).w;
  if (spec.learned_positions) out.position_embedding = top.linear("position_embd", spec.context_length, d).w;
  out.output_norm = top.norm("output_norm", d);
  out.output = spec.tied_embeddings || !top.has("output") ? Linear{out.token_embedding, nullptr}
                                                          : top.linear("output", spec.vocab_size, d);
  out.layers.reserve(static_cast<std::size_t>(spec.num_layers));
  for (int layer = 0; layer < spec.num_layers; ++layer) out.layers.push_back(bind_layer(spec, weights, layer));
  return out;
}

Linear row_slice(const Linear& linear, std::int64_t first, std::int64_t count) {
  Linear out = linear;
  out.w.rows = count;
  out.w.data += static_cast<std::uint64_t>(first) * row_bytes(linear.w.type, linear.w.cols);
  if (linear.bias != nullptr) out.bias += first;
  return out;
}

}  // namespace headlight::engine
