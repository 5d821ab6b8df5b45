#include "core/formats/model_spec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/formats/config.h"
#include "core/formats/fail.h"

namespace headlight::formats {
namespace {

struct Architecture {
  const char* name;
  NormKind norm;
  Activation activation;
  BlockKind block;
  ModelSpec::QkNorm qk_norm;
};

using Qk = ModelSpec::QkNorm;

constexpr Architecture kArchitectures[] = {
    {"llama", NormKind::rms, Activation::silu, BlockKind::pre_norm, Qk::none},
    {"mistral", NormKind::rms, Activation::silu, BlockKind::pre_norm, Qk::none},
    {"qwen2", NormKind::rms, Activation::silu, BlockKind::pre_norm, Qk::none},
    {"qwen3", NormKind::rms, Activation::silu, BlockKind::pre_norm, Qk::per_head},
    {"gemma", NormKind::rms, Activation::gelu_tanh, BlockKind::pre_norm, Qk::none},
    {"gemma2", NormKind::rms, Activation::gelu_tanh, BlockKind::sandwich, Qk::none},
    {"gemma3", NormKind::rms, Activation::gelu_tanh, BlockKind::sandwich, Qk::per_head},
    {"phi3", NormKind::rms, Activation::silu, BlockKind::pre_norm, Qk::none},
    {"gpt2", NormKind::layer, Activation::gelu_tanh, BlockKind::pre_norm, Qk::none},
    {"olmo2", NormKind::rms, Activation::silu, BlockKind::post_norm, Qk::whole},
    {"gpt-oss", NormKind::rms, Activation::silu, BlockKind::pre_norm, Qk::none},
};

void check_range(const char* field, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) bad_format({field}, "expected {} to {}, found {}", low, high, value);
}

// Positive and within f32, so that no later computation can produce an infinity out of it.
void check_positive(const char* field, double value) {
  if (!(value > 0) || value > std::numeric_limits<float>::max())
    bad_format({field}, "expected a positive number, found {}", value);
}

void check_scaling(const ModelSpec& spec, const RopeScaling& scaling) {
  using Kind = RopeScaling::Kind;
  if (scaling.kind == Kind::none) return;
  const auto pairs = static_cast<std::size_t>(spec.rotary_dim / 2);
  const auto check_factors = [&](const char* field, const std::vector<float>& factors) {
    if (factors.size() != pairs)
      bad_format({field}, "expected {} values (half of the {} rotary dimensions), found {}", pairs, spec.rotary_dim,
                 factors.size());
    for (const float f : factors)
      if (!(f > 0) || !std::isfinite(f)) bad_format({field}, "expected positive numbers, found {}", f);
  };
  if (scaling.kind == Kind::factors) return check_factors("rope_freqs.weight", scaling.short_factor);
  check_positive("rope_scaling.factor", scaling.factor);
  if (scaling.kind == Kind::linear) return;
  check_positive("rope_scaling.original_max_position_embeddings", scaling.original_context);
  if (scaling.kind == Kind::longrope) {
    check_factors("rope_scaling.short_factor", scaling.short_factor);
    check_factors("rope_scaling.long_factor", scaling.long_factor);
  }
  if (scaling.kind == Kind::llama3) {
    check_positive("rope_scaling.low_freq_factor", scaling.low_freq_factor);
    check_positive("rope_scaling.high_freq_factor", scaling.high_freq_factor);
    if (scaling.high_freq_factor <= scaling.low_freq_factor)
      bad_format({"rope_scaling.high_freq_factor"}, "expected more than low_freq_factor {}, found {}",
                 scaling.low_freq_factor, scaling.high_freq_factor);
  }
  if (scaling.kind == Kind::yarn) {
    check_positive("rope_scaling.beta_fast", scaling.beta_fast);
    check_positive("rope_scaling.beta_slow", scaling.beta_slow);
  }
  if (scaling.attention_factor != 0) check_positive("rope_scaling.attention_factor", scaling.attention_factor);
}

void check_rope(const ModelSpec& spec) {
  if (spec.rotary_dim == 0) return;
  if (spec.rotary_dim % 2 != 0 || spec.rotary_dim < 0 || spec.rotary_dim > spec.head_dim)
    bad_format({"rotary dimensions"}, "expected an even number of at most head_dim {}, found {}", spec.head_dim,
               spec.rotary_dim);
  for (const RopeSpec* rope : {&spec.rope, &spec.rope_sliding}) {
    check_positive("rope_theta", rope->theta);
    check_scaling(spec, rope->scaling);
  }
}

}  // namespace

bool set_architecture(ModelSpec& spec, const std::string& architecture) {
  const auto* found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                   [&](const Architecture& a) { return a.name == architecture; });
  if (found == std::end(kArchitectures)) return false;
  spec.architecture = found->name;
  spec.norm = found->norm;
  spec.activation = found->activation;
  spec.block = found->block;
  spec.qk_norm = found->qk_norm;
  spec.gated_ffn = architecture != "gpt2";
  spec.learned_positions = architecture == "gpt2";
  spec.learned_sinks = spec.clamped_swiglu = architecture == "gpt-oss";
  return true;
}

std::string supported_architectures() {
  std::string names;
  for (const auto& entry : kArchitectures) names += (names.empty() ? "" : ", ") + std::string(entry.name);
  return names;
}

std::vector<std::uint8_t> periodic_sliding(int num_layers, std::int64_t period) {
  std::vector<std::uint8_t> sliding(static_cast<std::size_t>(num_layers));
  for (int l = 0; l < num_layers; ++l) sliding[l] = l % period < period - 1;
  return sliding;
}

int checked_int(std::int64_t value, std::int64_t low, std::int64_t high, const std::string& key) {
  if (value < low || value > high) bad_format({key}, "expected {} to {}, found {}", low, high, value);
  return static_cast<int>(value);
}

void validate(const ModelSpec& spec) {
  check_range("number of layers", spec.num_layers, 1, 1024);
  check_range("hidden size", spec.hidden_size, 1, 1 << 17);
  check_range("feed-forward size", spec.intermediate_size, 1, 1 << 20);
  check_range("number of heads", spec.num_heads, 1, 1024);
  check_range("number of key-value heads", spec.num_kv_heads, 1, 1024);
  check_range("head_dim", spec.head_dim, 1, 1024);
  check_range("vocabulary size", spec.vocab_size, 1, 1 << 24);
  check_range("context length", spec.context_length, 1, std::int64_t{1} << 30);
  if (spec.num_heads % spec.num_kv_heads != 0)
    bad_format({"number of key-value heads"}, "{} heads are not a multiple of {} key-value heads", spec.num_heads,
               spec.num_kv_heads);
  if (spec.head_dim % 2 != 0) bad_format({"head_dim"}, "expected an even number, found {}", spec.head_dim);
  check_positive("norm epsilon", spec.norm_eps);
  check_positive("attention scale", spec.attention_scale);
  check_positive("embedding scale", spec.embedding_scale);
  if (spec.attention_soft_cap != 0) check_positive("attention logit soft cap", spec.attention_soft_cap);
  if (spec.logit_soft_cap != 0) check_positive("final logit soft cap", spec.logit_soft_cap);
  check_rope(spec);
  HEADLIGHT_CHECK(spec.is_sliding.size() == static_cast<std::size_t>(spec.num_layers));
  const bool slides = std::find(spec.is_sliding.begin(), spec.is_sliding.end(), 1) != spec.is_sliding.end();
  if (slides) check_range("sliding window", spec.sliding_window, 1, std::int64_t{1} << 30);
  if (spec.moe.num_experts != 0) {
    check_range("number of experts", spec.moe.num_experts, 1, 1024);
    check_range("experts per token", spec.moe.experts_per_token, 1, spec.moe.num_experts);
  }
}

}  // namespace headlight::formats
