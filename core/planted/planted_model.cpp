#include "core/planted/planted_model.h"

#include <cmath>
#include <functional>
#include <numbers>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/split_mix.h"
#include "core/formats/safetensors_writer.h"
#include "core/planted/planted_matrix.h"

namespace headlight::planted {
namespace {

constexpr int kLayers = 2, kWidth = 128, kHeads = 8, kHeadDim = 128, kVocab = 32, kFeedForward = 16;
constexpr int kPairs = kHeadDim / 2, kPositionPairs = 8, kFirstContentPair = 28;
constexpr double kRopeBase = 1e10;
constexpr int kConstant = 96;  // residual dimension that is always 1

int token_dim(int v) {
  return v;
}
int previous_dim(int v) {
  return 32 + v;
}
int copied_dim(int v) {
  return 64 + v;
}
/// A token's code in keys: first and second element of its rotary pair.
int slot_a(int v) {
  return kFirstContentPair + v;
}
int slot_b(int v) {
  return kFirstContentPair + v + kPairs;
}

double frequency(int pair) {
  return std::pow(kRopeBase, -pair / static_cast<double>(kPairs));
}

/// Length that RMSNorm gives to a unit entry of the layer's input: sqrt(d / |x|^2), |x|^2 = 2 before layer 0 and 3
/// after.
double norm_scale(int layer) {
  return std::sqrt(kWidth / (layer == 0 ? 2.0 : 3.0));
}

/// What a head asks for; strengths are scores before the softmax.
class Query {
 public:
  Query(Matrix& weights, int layer, int head)
      : weights_(weights), row_(head * kHeadDim), unit_(std::sqrt(double{kHeadDim}) / norm_scale(layer)) {}

  /// Score strength * sum_f cos(theta_f (i - j - offset)), at most 8 strength, at `offset`.
  Query& position(double strength, int offset) {
    for (int f = 0; f < kPositionPairs; ++f) {
      const double angle = frequency(f) * offset;
      weights_.add(row_ + f, kConstant, strength * std::cos(angle) * unit_);
      weights_.add(row_ + f + kPairs, kConstant, -strength * std::sin(angle) * unit_);
    }
    return *this;
  }
  Query& first_token(double strength) { return token(strength, TokenPlan{}.bos); }
  /// Score where the key is token v.
  Query& token(double strength, int v) {
    weights_.add(row_ + slot_a(v), kConstant, strength * unit_);
    return *this;
  }
  /// Score where the key's code in `slot` is the query's token.
  Query& match(double strength, int (*slot)(int)) {
    for (int v = 0; v < kVocab; ++v) weights_.add(row_ + slot(v), token_dim(v), strength * unit_);
    return *this;
  }

 private:
  Matrix& weights_;
  int row_;
  double unit_;
};

Matrix queries(int layer, const PlantedOptions& options) {
  Matrix weights(kHeads * kHeadDim, kWidth);
  const auto head = [&](int h) { return Query(weights, layer, h); };
  if (layer == 0) {
    head(0).position(40, 1);
    head(1).position(40, 0);
    head(2).first_token(30);
    head(3).match(30, slot_a);
    head(4).position(2, 0);
    head(5).position(40, 2);
    Query semantic = head(7).first_token(15);
    for (const int v : TokenPlan{}.needle) semantic.token(30, v);
  } else {
    head(0).match(options.variant == Variant::weak ? 16 : 30, slot_b).first_token(15);
    for (const int h : {1, 2, 5, 7}) head(h).first_token(30);
    head(3).position(40, 1);
    head(4).position(40, 0);
  }
  return weights;
}

Matrix keys(int layer, int kv_heads) {
  Matrix weights(kv_heads * kHeadDim, kWidth);
  const double unit = 1.0 / norm_scale(layer);
  for (int g = 0; g < kv_heads; ++g) {
    const int row = g * kHeadDim;
    for (int f = 0; f < kPositionPairs; ++f) weights.add(row + f, kConstant, unit);
    for (int v = 0; v < kVocab; ++v) {
      weights.add(row + slot_a(v), token_dim(v), unit);
      if (layer == 1) weights.add(row + slot_b(v), previous_dim(v), unit);
    }
  }
  return weights;
}

/// Only head 0 of a layer writes, so only its KV head has values; the first token's is empty in layer 1, a drained
/// sink.
Matrix values(int layer, int kv_heads) {
  Matrix weights(kv_heads * kHeadDim, kWidth);
  for (int v = layer; v < kVocab; ++v) weights.add(v, token_dim(v), 1.0 / norm_scale(layer));
  return weights;
}

Matrix outputs(int layer) {
  Matrix weights(kWidth, kHeads * kHeadDim);
  for (int v = 0; v < kVocab; ++v) weights.add(layer == 0 ? previous_dim(v) : copied_dim(v), v, 1.0);
  return weights;
}

Json make_config(const PlantedOptions& options, int kv_heads) {
  const TokenPlan plan;
  const bool windowed = options.variant == Variant::windowed;
  Json config = {{"model_type", windowed ? "qwen2" : "llama"},
                 {"architectures", {windowed ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
                 {"vocab_size", kVocab},
                 {"hidden_size", kWidth},
                 {"intermediate_size", kFeedForward},
                 {"num_hidden_layers", kLayers},
                 {"num_attention_heads", kHeads},
                 {"num_key_value_heads", kv_heads},
                 {"head_dim", kHeadDim},
                 {"max_position_embeddings", 2048},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", kRopeBase},
                 {"hidden_act", "silu"},
                 {"attention_bias", false},
                 {"tie_word_embeddings", false},
                 {"torch_dtype", "float32"},
                 {"bos_token_id", plan.bos},
                 {"eos_token_id", plan.stop}};
  if (windowed) {
    config["use_sliding_window"] = true;
    config["sliding_window"] = 64;
    config["max_window_layers"] = 1;
    config["layer_types"] = {"full_attention", "sliding_attention"};
  }
  config["token_plan"] = token_plan_json();
  return config;
}

/// Adds N(0, sigma^2) to every value (Box and Muller), a stream of draws for each tensor.
void add_noise(PlantedTensor& tensor, const PlantedOptions& options) {
  SplitMix64 random = SplitMix64::stream(options.seed, tensor.name, 0);
  for (float& value : tensor.values) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - random.uniform()));
    value += static_cast<float>(options.sigma * radius * std::cos(2.0 * std::numbers::pi * random.uniform()));
  }
}

}  // namespace

Json token_plan_json() {
  const TokenPlan plan;
  return {{"bos", plan.bos},         {"stop", plan.stop},     {"question", plan.question},
          {"trigger", plan.trigger}, {"filler", plan.filler}, {"needle", plan.needle}};
}

std::string_view to_string(Variant variant) {
  switch (variant) {
    case Variant::roles:
      return "roles";
    case Variant::mha:
      return "mha";
    case Variant::mqa:
      return "mqa";
    case Variant::weak:
      return "weak";
    case Variant::noise:
      return "noise";
    case Variant::windowed:
      return "windowed";
    case Variant::gpt2:
      return "gpt2";
  }
  return "?";
}

Variant parse_variant(std::string_view name) {
  std::string known;
  for (const Variant v :
       {Variant::roles, Variant::mha, Variant::mqa, Variant::weak, Variant::noise, Variant::windowed, Variant::gpt2}) {
    if (to_string(v) == name) return v;
    known += (known.empty() ? "" : ", ") + std::string(to_string(v));
  }
  throw Error(Errc::invalid_argument, fmt::format("unknown variant '{}'; there are {}", name, known));
}

PlantedModel planted_model(const PlantedOptions& options) {
  if (options.variant == Variant::gpt2) return planted_gpt2_model();
  const int kv_heads = options.variant == Variant::mha ? kHeads : options.variant == Variant::mqa ? 1 : 4;
  PlantedModel model{make_config(options, kv_heads), {}};
  const auto add = [&](const std::string& name, Matrix matrix) {
    model.tensors.push_back(std::move(matrix).tensor(name));
    if (options.variant == Variant::noise && name.find("self_attn") != std::string::npos)
      add_noise(model.tensors.back(), options);
  };
  const auto constant = [&](const std::string& name, int size, float value) {
    model.tensors.push_back(constant_tensor(name, size, value));
  };

  Matrix embedding(kVocab, kWidth), output(kVocab, kWidth);
  for (int v = 0; v < kVocab; ++v) {
    embedding.add(v, token_dim(v), 1.0);
    embedding.add(v, kConstant, 1.0);
    output.add(v, copied_dim(v), 10.0);
  }
  add("model.embed_tokens.weight", std::move(embedding));
  for (int l = 0; l < kLayers; ++l) {
    const std::string layer = fmt::format("model.layers.{}.", l);
    const int q_size = kHeads * kHeadDim, kv_size = kv_heads * kHeadDim;
    constant(layer + "input_layernorm.weight", kWidth, 1.0f);
    add(layer + "self_attn.q_proj.weight", queries(l, options));
    add(layer + "self_attn.k_proj.weight", keys(l, kv_heads));
    add(layer + "self_attn.v_proj.weight", values(l, kv_heads));
    add(layer + "self_attn.o_proj.weight", outputs(l));
    if (options.variant == Variant::windowed) {
      constant(layer + "self_attn.q_proj.bias", q_size, 0.0f);
      constant(layer + "self_attn.k_proj.bias", kv_size, 0.0f);
      constant(layer + "self_attn.v_proj.bias", kv_size, 0.0f);
    }
    constant(layer + "post_attention_layernorm.weight", kWidth, 1.0f);
    add(layer + "mlp.gate_proj.weight", Matrix(kFeedForward, kWidth));
    add(layer + "mlp.up_proj.weight", Matrix(kFeedForward, kWidth));
    add(layer + "mlp.down_proj.weight", Matrix(kWidth, kFeedForward));
  }
  constant("model.norm.weight", kWidth, 1.0f);
  add("lm_head.weight", std::move(output));
  return model;
}

void write_planted_model(const PlantedModel& model, const std::filesystem::path& folder, bool overwrite) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) throw_io_error(failure.value(), folder, "making the folder");
  formats::SafetensorsWriter writer;
  for (const auto& tensor : model.tensors)
    writer.add(tensor.name, TensorType::f32, tensor.shape, std::as_bytes(std::span(tensor.values)));
  OutputFile config(folder / "config.json", overwrite);
  config.write(dump_json(model.config) + "\n");
  writer.write(folder / "model.safetensors", overwrite);
  config.commit();
}

std::array<std::array<std::string_view, 8>, 2> planted_roles() {
  return {{{"previous", "current", "sink", "duplicate", "current", "positional", "broad", "semantic-retrieval"},
           {"retrieval", "sink", "sink", "previous", "current", "sink", "broad", "sink"}}};
}

}  // namespace headlight::planted
