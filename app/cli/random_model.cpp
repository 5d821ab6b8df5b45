#include "app/cli/random_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/dtype.h"
#include "base/error.h"

namespace headlight::cli {
namespace {

struct Shape {
  const char* name;
  int layers, hidden, intermediate, heads, kv_heads, head_dim;
  std::int64_t vocab, context;
  double theta;
};

constexpr Shape kShapes[] = {
    {"tiny-shape", 4, 256, 768, 4, 2, 64, 1024, 32768, 1e4},
    {"smollm2-135m-shape", 30, 576, 1536, 9, 3, 64, 49152, 8192, 1e5},
    {"qwen2.5-7b", 28, 3584, 18944, 28, 4, 128, 152064, 32768, 1e6},
    {"llama3-8b", 32, 4096, 14336, 32, 8, 128, 128256, 131072, 5e5},
};

const Shape* find_shape(const std::string& name) {
  const auto* it = std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) { return name == s.name; });
  return it == std::end(kShapes) ? nullptr : it;
}

/// Q8_0 rows whose dequantised entries have a standard deviation near 0.5 / sqrt(cols), so that activations stay
/// finite.
void add_matrix(formats::Weights& weights, const std::string& name, std::int64_t rows, std::int64_t cols,
                std::uint64_t& state) {
  formats::WeightTensor tensor{TensorType::q8_0, rows, cols, nullptr};
  const auto storage = weights.allocate(tensor.bytes());
  const std::uint16_t scale = f32_to_f16(static_cast<float>(0.5 / std::sqrt(static_cast<double>(cols)) / 74.0));
  constexpr std::size_t kBlockBytes = 34;
  for (std::size_t at = 0; at < storage.size(); at += kBlockBytes) {
    std::memcpy(storage.data() + at, &scale, 2);
    for (std::size_t i = 2; i < kBlockBytes; i += 8) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t bits = state ^ (state >> 29);
      std::memcpy(storage.data() + at + i, &bits, std::min<std::size_t>(8, kBlockBytes - i));
    }
  }
  tensor.data = storage.data();
  weights.add(name, tensor);
}

void add_ones(formats::Weights& weights, const std::string& name, std::int64_t size) {
  formats::WeightTensor tensor{TensorType::f32, 1, size, nullptr};
  const auto storage = weights.allocate(tensor.bytes());
  auto* values = reinterpret_cast<float*>(storage.data());
  std::fill_n(values, size, 1.0f);
  tensor.data = storage.data();
  weights.add(name, tensor);
}

}  // namespace

bool is_shape(const std::string& name) {
  return find_shape(name) != nullptr;
}

std::string shape_names() {
  std::string text;
  for (const Shape& shape : kShapes) text += (text.empty() ? "" : ", ") + std::string(shape.name);
  return text;
}

formats::ModelFile random_model(const std::string& name) {
  const Shape* shape = find_shape(name);
  HEADLIGHT_CHECK(shape != nullptr);
  formats::ModelFile model;
  auto& spec = model.spec;
  spec.architecture = "llama";
  spec.name = name;
  spec.file_format = "random";
  spec.quantization = "Q8_0";
  spec.num_layers = shape->layers;
  spec.hidden_size = shape->hidden;
  spec.intermediate_size = shape->intermediate;
  spec.num_heads = shape->heads;
  spec.num_kv_heads = shape->kv_heads;
  spec.head_dim = spec.rotary_dim = shape->head_dim;
  spec.vocab_size = shape->vocab;
  spec.context_length = shape->context;
  spec.rope.theta = spec.rope_sliding.theta = shape->theta;
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(shape->head_dim));
  spec.is_sliding.assign(static_cast<std::size_t>(shape->layers), 0);
  spec.tied_embeddings = true;

  std::uint64_t state = 1;
  const std::int64_t d = shape->hidden, q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;
  add_matrix(model.weights, "token_embd.weight", shape->vocab, d, state);
  add_ones(model.weights, "output_norm.weight", d);
  for (int l = 0; l < shape->layers; ++l) {
    const std::string prefix = fmt::format("blk.{}.", l);
    add_ones(model.weights, prefix + "attn_norm.weight", d);
    add_ones(model.weights, prefix + "ffn_norm.weight", d);
    add_matrix(model.weights, prefix + "attn_q.weight", q, d, state);
    add_matrix(model.weights, prefix + "attn_k.weight", kv, d, state);
    add_matrix(model.weights, prefix + "attn_v.weight", kv, d, state);
    add_matrix(model.weights, prefix + "attn_output.weight", d, q, state);
    add_matrix(model.weights, prefix + "ffn_gate.weight", shape->intermediate, d, state);
    add_matrix(model.weights, prefix + "ffn_up.weight", shape->intermediate, d, state);
    add_matrix(model.weights, prefix + "ffn_down.weight", d, shape->intermediate, state);
  }
  for (const auto& [key, tensor] : model.weights.all()) spec.num_parameters += tensor.rows * tensor.cols;
  return model;
}

}  // namespace headlight::cli
