// What the converters of the GGUF world do to a Hugging Face model. Written without the loader's own tables, so that a
// mistake there is seen as a difference here.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "core/formats/config.h"
#include "core/formats/quantize.h"
#include "tests/support/synthetic_model.h"

namespace headlight::testing_support {
namespace {

using formats::GgufValue;
using formats::ModelSpec;
using formats::RopeScaling;
using formats::RopeSpec;

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

std::string gguf_name(const std::string& hf, const std::string& arch) {
  std::string name = hf;
  if (name.starts_with("model.")) name = name.substr(6);
  if (name.starts_with("transformer.")) name = name.substr(12);
  if (arch == "gpt2") {
    for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"wte.", "token_embd."},
                                                                                   {"wpe.", "position_embd."},
                                                                                   {"ln_f.", "output_norm."},
                                                                                   {"h.", "blk."},
                                                                                   {"ln_1.", "attn_norm."},
                                                                                   {"ln_2.", "ffn_norm."},
                                                                                   {"attn.c_attn.", "attn_qkv."},
                                                                                   {"attn.c_proj.", "attn_output."},
                                                                                   {"mlp.c_fc.", "ffn_up."},
                                                                                   {"mlp.c_proj.", "ffn_down."}})
      if (name.starts_with(from) || name.find("." + from) != std::string::npos) name = replace_all(name, from, to);
    return name;
  }
  if (name == "norm.weight") return "output_norm.weight";
  const bool own_ffn_norm = arch == "gemma2" || arch == "gemma3" || arch == "olmo2" || arch == "gpt-oss";
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"lm_head.", "output."},
           {"embed_tokens.", "token_embd."},
           {"layers.", "blk."},
           {"self_attn.qkv_proj.", "attn_qkv."},
           {"self_attn.q_proj.", "attn_q."},
           {"self_attn.k_proj.", "attn_k."},
           {"self_attn.v_proj.", "attn_v."},
           {"self_attn.o_proj.", "attn_output."},
           {"self_attn.q_norm.", "attn_q_norm."},
           {"self_attn.k_norm.", "attn_k_norm."},
           {"self_attn.sinks", "attn_sinks.weight"},
           {"mlp.gate_up_proj.", "ffn_up."},
           {"mlp.gate_proj.", "ffn_gate."},
           {"mlp.up_proj.", "ffn_up."},
           {"mlp.down_proj.", "ffn_down."},
           {"mlp.router.", "ffn_gate_inp."},
           {"mlp.experts.down_proj_bias", "ffn_down_exps.bias"},
           {"mlp.experts.down_proj", "ffn_down_exps.weight"},
           {"input_layernorm.", "attn_norm."},
           {"pre_feedforward_layernorm.", "ffn_norm."},
           {"post_feedforward_layernorm.", "post_ffw_norm."},
           {"post_attention_layernorm.", own_ffn_norm ? "post_attention_norm." : "ffn_norm."}})
    name = replace_all(name, from, to);
  return name;
}

/// Rows of every head from (half, pair) to (pair, half) order.
void permute_heads(std::vector<float>& values, std::size_t row, int num_heads) {
  const std::size_t dim = values.size() / row / static_cast<std::size_t>(num_heads);
  const std::vector<float> from = values;
  for (std::size_t h = 0; h < static_cast<std::size_t>(num_heads); ++h)
    for (std::size_t s = 0; s < 2; ++s)
      for (std::size_t j = 0; j < dim / 2; ++j)
        std::copy_n(from.begin() + static_cast<long>((h * dim + s * dim / 2 + j) * row), row,
                    values.begin() + static_cast<long>((h * dim + 2 * j + s) * row));
}

/// [n][rows][cols] -> [n][cols][rows]
void transpose_last(SyntheticTensor& tensor) {
  const std::size_t rank = tensor.shape.size();
  const auto rows = static_cast<std::size_t>(tensor.shape[rank - 2]),
             cols = static_cast<std::size_t>(tensor.shape[rank - 1]);
  const std::vector<float> from = tensor.values;
  for (std::size_t base = 0; base < from.size(); base += rows * cols)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) tensor.values[base + c * rows + r] = from[base + r * cols + c];
  std::swap(tensor.shape[rank - 2], tensor.shape[rank - 1]);
}

void append(GgufParts& parts, const std::string& name, const SyntheticTensor& tensor, TensorType type) {
  const bool is_vector = tensor.shape.size() == 1 || name.ends_with("_exps.bias");
  const auto cols = static_cast<std::size_t>(tensor.shape.back());
  TensorType stored = is_vector ? TensorType::f32 : type;
  if (cols % info(stored).block_size != 0) stored = TensorType::f16;
  parts.tensors.push_back({name, stored, tensor.shape, formats::quantize_rows(stored, tensor.values, cols)});
}

/// gpt-oss: even columns are gate, odd ones up; both [E][d_ff][d] in GGUF.
void append_experts(GgufParts& parts, const SyntheticTensor& tensor, TensorType type) {
  const std::string blk = replace_all(tensor.name.substr(0, tensor.name.find("mlp.")), "model.layers.", "blk.");
  const bool bias = tensor.name.ends_with("_bias");
  for (std::size_t odd = 0; odd < 2; ++odd) {
    SyntheticTensor half{tensor.name, tensor.shape, tensor.kind, {}};
    half.shape.back() /= 2;
    for (std::size_t i = odd; i < tensor.values.size(); i += 2) half.values.push_back(tensor.values[i]);
    if (!bias) transpose_last(half);
    append(parts, blk + (odd ? "ffn_up_exps" : "ffn_gate_exps") + (bias ? ".bias" : ".weight"), half, type);
  }
}

void append_tensor(GgufParts& parts, SyntheticTensor tensor, const ModelSpec& spec, TensorType type) {
  if (tensor.name.find("experts.gate_up_proj") != std::string::npos) return append_experts(parts, tensor, type);
  const std::string name = gguf_name(tensor.name, spec.architecture);
  if (spec.architecture == "llama" || spec.architecture == "mistral") {
    const std::size_t row = tensor.shape.size() == 2 ? static_cast<std::size_t>(tensor.shape[1]) : 1;
    if (name.find(".attn_q.") != std::string::npos) permute_heads(tensor.values, row, spec.num_heads);
    if (name.find(".attn_k.") != std::string::npos) permute_heads(tensor.values, row, spec.num_kv_heads);
  }
  if (tensor.kind == "norm")
    for (float& value : tensor.values) value += 1.0f;
  const bool conv1d = spec.architecture == "gpt2" && tensor.shape.size() == 2 && name.starts_with("blk.");
  if (conv1d || name.ends_with("ffn_down_exps.weight")) transpose_last(tensor);
  append(parts, name, tensor, type);
}

double llama3_divisor(const RopeScaling& s, double inv_freq) {
  const double wavelength = 2 * std::numbers::pi / inv_freq;
  if (wavelength < s.original_context / s.high_freq_factor) return 1;
  if (wavelength > s.original_context / s.low_freq_factor) return s.factor;
  const double t = (s.original_context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return 1 / ((1 - t) / s.factor + t);
}

void append_rope(GgufParts& parts, const ModelSpec& spec, const std::string& arch) {
  if (spec.rotary_dim == 0) return;
  const RopeScaling& scaling = spec.rope.scaling;
  const auto set = [&](const std::string& key, auto value) { parts[arch + "." + key].value = value; };
  const auto tensor = [&](const std::string& name, const std::vector<float>& values) {
    append(parts, name, {name, {static_cast<std::int64_t>(values.size())}, "vector", values}, TensorType::f32);
  };
  set("rope.dimension_count", std::int64_t{spec.rotary_dim});
  set("rope.freq_base", spec.rope.theta);
  if (arch == "gemma3") set("rope.freq_base_swa", spec.rope_sliding.theta);
  using Kind = RopeScaling::Kind;
  if (scaling.kind == Kind::linear || scaling.kind == Kind::yarn) {
    set("rope.scaling.type", std::string(scaling.kind == Kind::linear ? "linear" : "yarn"));
    set("rope.scaling.factor", scaling.factor);
  }
  if (scaling.kind == Kind::yarn) {
    set("rope.scaling.original_context_length", static_cast<std::int64_t>(scaling.original_context));
    set("rope.scaling.yarn_beta_fast", scaling.beta_fast);
    set("rope.scaling.yarn_beta_slow", scaling.beta_slow);
  }
  if (scaling.kind == Kind::longrope) {
    set("rope.scaling.original_context_length", static_cast<std::int64_t>(scaling.original_context));
    set("rope.scaling.attn_factor", std::sqrt(1 + std::log(scaling.factor) / std::log(scaling.original_context)));
    tensor("rope_factors_long.weight", scaling.long_factor);
    tensor("rope_factors_short.weight", scaling.short_factor);
  }
  if (scaling.kind == Kind::llama3) {
    std::vector<float> divisors;
    for (int j = 0; j < spec.rotary_dim / 2; ++j)
      divisors.push_back(
          static_cast<float>(llama3_divisor(scaling, std::pow(spec.rope.theta, -2.0 * j / spec.rotary_dim))));
    tensor("rope_freqs.weight", divisors);
  }
}

void append_metadata(GgufParts& parts, const ModelSpec& spec, const std::string& arch) {
  parts["general.architecture"].value = arch;
  parts["general.name"].value = std::string("synthetic ") + arch;
  const auto set = [&](const std::string& key, auto value) { parts[arch + "." + key].value = value; };
  set("block_count", std::int64_t{spec.num_layers});
  set("context_length", spec.context_length);
  set("embedding_length", std::int64_t{spec.hidden_size});
  set("feed_forward_length", std::int64_t{spec.intermediate_size});
  set("attention.head_count", std::int64_t{spec.num_heads});
  set("attention.head_count_kv", std::int64_t{spec.num_kv_heads});
  set("attention.key_length", std::int64_t{spec.head_dim});
  set("attention.value_length", std::int64_t{spec.head_dim});
  set(arch == "gpt2" ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", spec.norm_eps);
  if (spec.attention_scale != 1 / std::sqrt(static_cast<double>(spec.head_dim)))
    set("attention.scale", spec.attention_scale);
  if (spec.attention_soft_cap != 0) set("attn_logit_softcapping", spec.attention_soft_cap);
  if (spec.logit_soft_cap != 0) set("final_logit_softcapping", spec.logit_soft_cap);
  if (spec.sliding_window != 0 && arch != "llama") {
    set("attention.sliding_window", spec.sliding_window);
    set("attention.sliding_window_pattern", std::vector<bool>(spec.is_sliding.begin(), spec.is_sliding.end()));
  }
  if (spec.moe.num_experts != 0) {
    set("expert_count", std::int64_t{spec.moe.num_experts});
    set("expert_used_count", std::int64_t{spec.moe.experts_per_token});
    set("expert_feed_forward_length", std::int64_t{spec.intermediate_size});
  }
}

}  // namespace

GgufValue& GgufParts::operator[](const std::string& key) {
  for (auto& [name, value] : metadata)
    if (name == key) return value;
  return metadata.emplace_back(key, GgufValue{}).second;
}

void GgufParts::erase(const std::string& key) {
  std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
}

GgufParts::Tensor& GgufParts::tensor(const std::string& name) {
  for (auto& tensor : tensors)
    if (tensor.name == name) return tensor;
  throw std::invalid_argument("no tensor " + name);
}

void GgufParts::erase_tensor(const std::string& name) {
  std::erase_if(tensors, [&](const auto& tensor) { return tensor.name == name; });
}

formats::GgufWriter GgufParts::writer() const {
  formats::GgufWriter out;
  for (const auto& [key, value] : metadata) out.add(key, value);
  for (const auto& tensor : tensors) out.add_tensor(tensor.name, tensor.type, tensor.shape, tensor.data);
  return out;
}

GgufParts gguf_parts(const SyntheticModel& model, TensorType type) {
  const ModelSpec spec = formats::spec_from_config(model.config);
  const std::string arch = spec.architecture == "mistral" ? "llama" : spec.architecture;
  GgufParts parts;
  append_metadata(parts, spec, arch);
  append_rope(parts, spec, arch);
  for (const auto& tensor : model.tensors) append_tensor(parts, tensor, spec, type);
  return parts;
}

void write_gguf(const SyntheticModel& model, const std::filesystem::path& file, TensorType type) {
  gguf_parts(model, type).writer().write(file, true);
}

}  // namespace headlight::testing_support
