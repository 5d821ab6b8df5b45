#include <algorithm>
#include <cmath>

#include "core/formats/config.h"
#include "core/formats/fail.h"

namespace headlight::formats {
namespace {

int int_of(const Json& config, const char* key, std::int64_t low, std::int64_t high, const std::string& path = {}) {
  return checked_int(json_integer(config, key, path), low, high, path.empty() ? key : path + "." + key);
}

int int_or(const Json& config, const char* key, int fallback, std::int64_t low, std::int64_t high) {
  return json_find(config, key) ? int_of(config, key, low, high) : fallback;
}

// model_type as Hugging Face writes it -> architecture.
std::string architecture_of(const std::string& model_type) {
  if (model_type == "gemma3_text") return "gemma3";
  if (model_type == "gpt_oss") return "gpt-oss";
  return model_type == "gpt-oss" ? "" : model_type;
}

void refuse_unsupported(const Json& config) {
  if (const Json* quantization = json_find(config, "quantization_config")) {
    const auto method = quantization->is_object() ? json_string_or(*quantization, "quant_method", "?") : "?";
    fail(Errc::unsupported, {"quantization_config"}, "quantised Hugging Face weights (quant_method '{}')", method);
  }
  const Json* names = json_find(config, "architectures");
  if (names) {
    if (!names->is_array()) bad_format({"architectures"}, "expected an array, found {}", names->type_name());
    if (!names->empty()) {
      if (!names->front().is_string()) bad_format({"architectures"}, "expected strings");
      const auto& name = names->front().get_ref<const std::string&>();
      if (!name.ends_with("ForCausalLM") && !name.ends_with("LMHeadModel") && !name.ends_with("Model"))
        fail(Errc::unsupported, {"architectures"}, "'{}' is not supported; expected a ...ForCausalLM", name);
    }
  }
  for (const char* flag :
       {"use_bidirectional_attention", "alibi", "add_cross_attention", "is_encoder_decoder", "rope_interleaved"}) {
    const Json* value = json_find(config, flag);
    if (value && *value != Json(false)) fail(Errc::unsupported, {flag}, "{} is not supported", value->dump());
  }
  if (json_string(config, "model_type") != "gpt_oss")
    for (const char* key : {"num_local_experts", "num_experts"})
      if (json_integer_or(config, key, 0) > 0)
        fail(Errc::unsupported, {key}, "{} experts in architecture '{}'", json_integer(config, key),
             json_string(config, "model_type"));
}

void check_activation(const Json& config, const ModelSpec& spec) {
  const char* key = "hidden_act";
  if (spec.architecture == "gpt2") key = "activation_function";
  if (spec.architecture.starts_with("gemma") && json_find(config, "hidden_activation")) key = "hidden_activation";
  const std::string found = json_string_or(config, key, "");
  if (found.empty()) return;
  const bool tanh = spec.activation == Activation::gelu_tanh;
  // Early Gemma configurations say "gelu" and mean the tanh form.
  const bool fits = tanh ? found == "gelu_pytorch_tanh" || found == "gelu_new" ||
                               (found == "gelu" && spec.architecture.starts_with("gemma"))
                         : found == "silu" || found == "swish";
  if (!fits)
    fail(Errc::unsupported, {key}, "activation '{}' in architecture '{}'; expected {}", found, spec.architecture,
         tanh ? "gelu_pytorch_tanh" : "silu");
}

void read_gpt2_sizes(const Json& config, ModelSpec& spec) {
  spec.num_layers = int_of(config, "n_layer", 1, 1024);
  spec.hidden_size = int_of(config, "n_embd", 1, 1 << 17);
  spec.num_heads = spec.num_kv_heads = int_of(config, "n_head", 1, 1024);
  spec.intermediate_size = int_or(config, "n_inner", 4 * spec.hidden_size, 1, 1 << 20);
  spec.context_length = int_of(config, "n_positions", 1, kIntMax);
  spec.norm_eps = json_number_or(config, "layer_norm_epsilon", 1e-5);
}

int default_head_dim(const ModelSpec& spec) {
  if (spec.architecture == "qwen3") return 128;
  if (spec.architecture.starts_with("gemma")) return 256;
  if (spec.architecture == "gpt-oss") return 64;
  return 0;
}

void read_sizes(const Json& config, ModelSpec& spec) {
  if (spec.architecture == "gpt2") {
    read_gpt2_sizes(config, spec);
  } else {
    spec.num_layers = int_of(config, "num_hidden_layers", 1, 1024);
    spec.hidden_size = int_of(config, "hidden_size", 1, 1 << 17);
    spec.intermediate_size = int_of(config, "intermediate_size", 1, 1 << 20);
    spec.num_heads = int_of(config, "num_attention_heads", 1, 1024);
    spec.num_kv_heads = int_or(config, "num_key_value_heads", spec.num_heads, 1, 1024);
    spec.context_length = int_or(config, "max_position_embeddings", 2048, 1, kIntMax);
    const bool small_eps = spec.architecture == "phi3" || spec.architecture == "gpt-oss";
    spec.norm_eps = json_number_or(config, "rms_norm_eps", small_eps ? 1e-5 : 1e-6);
  }
  spec.vocab_size = int_of(config, "vocab_size", 1, 1 << 24);
  spec.head_dim = int_or(config, "head_dim", default_head_dim(spec), 1, 1024);
  if (spec.head_dim == 0) {
    if (spec.hidden_size % spec.num_heads != 0)
      bad_format({spec.architecture == "gpt2" ? "n_head" : "num_attention_heads"},
                 "hidden size {} is not a multiple of {} heads", spec.hidden_size, spec.num_heads);
    spec.head_dim = spec.hidden_size / spec.num_heads;
  }
}

// --- rope
// -------------------------------------------------------------------------------------------------------------

std::vector<float> factor_list(const Json& object, const char* key, const std::string& path) {
  const Json* list = json_find(object, key, path);
  if (!list || !list->is_array()) bad_format({path + "." + key}, "expected an array of numbers");
  std::vector<float> factors;
  for (const auto& value : *list) {
    if (!value.is_number()) bad_format({path + "." + key}, "expected numbers, found {}", value.type_name());
    factors.push_back(value.get<float>());
  }
  return factors;
}

void read_yarn(const Json& rope, const std::string& path, const ModelSpec& spec, RopeScaling& scaling) {
  scaling.beta_fast = json_number_or(rope, "beta_fast", 32.0, path);
  scaling.beta_slow = json_number_or(rope, "beta_slow", 1.0, path);
  scaling.mscale = json_number_or(rope, "mscale", 0.0, path);
  scaling.mscale_all_dim = json_number_or(rope, "mscale_all_dim", 0.0, path);
  scaling.truncate = json_bool_or(rope, "truncate", true, path);
  scaling.attention_factor = json_number_or(rope, "attention_factor", 0.0, path);
  scaling.factor =
      json_number_or(rope, "factor", static_cast<double>(spec.context_length) / scaling.original_context, path);
}

RopeScaling read_scaling(const Json& config, const Json& rope, const std::string& path, const ModelSpec& spec) {
  RopeScaling scaling;
  const std::string type = json_string_or(rope, "rope_type", json_string_or(rope, "type", "default", path), path);
  if (type == "default") return scaling;
  scaling.original_context = json_number_or(
      rope, "original_max_position_embeddings",
      json_number_or(config, "original_max_position_embeddings", static_cast<double>(spec.context_length)), path);
  if (!(scaling.original_context > 0))
    bad_format({path + ".original_max_position_embeddings"}, "expected a positive number, found {}",
               scaling.original_context);
  using Kind = RopeScaling::Kind;
  if (type == "linear" || type == "dynamic") {
    scaling.kind = type == "linear" ? Kind::linear : Kind::dynamic;
    scaling.factor = json_number(rope, "factor", path);
  } else if (type == "llama3") {
    scaling.kind = Kind::llama3;
    scaling.factor = json_number(rope, "factor", path);
    scaling.low_freq_factor = json_number(rope, "low_freq_factor", path);
    scaling.high_freq_factor = json_number(rope, "high_freq_factor", path);
  } else if (type == "yarn") {
    scaling.kind = Kind::yarn;
    read_yarn(rope, path, spec, scaling);
  } else if (type == "longrope" || type == "su") {
    scaling.kind = Kind::longrope;
    scaling.short_factor = factor_list(rope, "short_factor", path);
    scaling.long_factor = factor_list(rope, "long_factor", path);
    scaling.attention_factor = json_number_or(rope, "attention_factor", 0.0, path);
    scaling.factor = static_cast<double>(spec.context_length) / scaling.original_context;
  } else {
    fail(Errc::unsupported, {path + ".rope_type"}, "unknown RoPE scaling '{}'", type);
  }
  return scaling;
}

double default_theta(const ModelSpec& spec) {
  if (spec.architecture == "gpt-oss") return 150000.0;
  return spec.architecture == "gemma3" ? 1e6 : 10000.0;
}

void read_rope(const Json& config, ModelSpec& spec) {
  if (spec.learned_positions) return;
  const Json* parameters = json_find(config, "rope_parameters");
  const Json empty = Json::object();
  double rotary_part = json_number_or(config, "partial_rotary_factor", 1.0);
  const bool gemma3 = spec.architecture == "gemma3";
  const double theta = json_number_or(config, "rope_theta", default_theta(spec));
  if (parameters && json_find(*parameters, "full_attention", "rope_parameters")) {
    const auto read = [&](const char* kind, double fallback) {
      const std::string path = std::string("rope_parameters.") + kind;
      const Json* part = json_find(*parameters, kind, "rope_parameters");
      if (!part) bad_format({path}, "is required but missing");
      return RopeSpec{json_number_or(*part, "rope_theta", fallback, path), read_scaling(config, *part, path, spec)};
    };
    spec.rope = read("full_attention", theta);
    spec.rope_sliding = read("sliding_attention", gemma3 ? 10000.0 : theta);
  } else if (parameters) {
    spec.rope = {json_number_or(*parameters, "rope_theta", theta, "rope_parameters"),
                 read_scaling(config, *parameters, "rope_parameters", spec)};
    rotary_part = json_number_or(*parameters, "partial_rotary_factor", rotary_part, "rope_parameters");
    spec.rope_sliding = spec.rope;
  } else {
    const Json* scaling = json_find(config, "rope_scaling");
    spec.rope = {theta, read_scaling(config, scaling ? *scaling : empty, "rope_scaling", spec)};
    spec.rope_sliding = spec.rope;
    if (gemma3) spec.rope_sliding = {json_number_or(config, "rope_local_base_freq", 10000.0), {}};
  }
  if (!(rotary_part > 0) || rotary_part > 1)
    bad_format({"partial_rotary_factor"}, "expected more than 0 and at most 1, found {}", rotary_part);
  spec.rotary_dim = static_cast<int>(spec.head_dim * rotary_part);
}

// --- windows
// ----------------------------------------------------------------------------------------------------------

/// The window that is in force, 0 = none.
std::int64_t read_window(const Json& config, const ModelSpec& spec) {
  const std::string& arch = spec.architecture;
  const bool known = arch == "mistral" || arch == "phi3" || arch == "gemma2" || arch == "gemma3" || arch == "gpt-oss";
  const bool optional = arch == "qwen2" || arch == "qwen3";
  const Json* window = json_find(config, "sliding_window");
  if (arch == "olmo2" && window) fail(Errc::unsupported, {"sliding_window"}, "architecture 'olmo3' is not supported");
  if (!known && !optional) return 0;
  if (optional && !json_bool_or(config, "use_sliding_window", false)) return 0;
  if (window) return int_of(config, "sliding_window", 1, kIntMax);
  if (config.contains("sliding_window") && (arch == "mistral" || arch == "phi3" || optional)) return 0;  // null
  if (arch == "mistral" || arch == "gemma2" || arch == "gemma3") return 4096;
  return arch == "gpt-oss" ? 128 : 0;
}

std::vector<std::uint8_t> kinds_from_list(const Json& kinds, int num_layers) {
  if (!kinds.is_array() || kinds.size() != static_cast<std::size_t>(num_layers))
    bad_format({"layer_types"}, "expected an array of {} entries, found {}", num_layers,
               kinds.is_array() ? std::to_string(kinds.size()) : kinds.type_name());
  std::vector<std::uint8_t> sliding;
  for (const auto& kind : kinds) {
    if (kind != "full_attention" && kind != "sliding_attention")
      fail(Errc::unsupported, {"layer_types"}, "unknown kind {}", kind.dump());
    sliding.push_back(kind == "sliding_attention");
  }
  return sliding;
}

void read_windows(const Json& config, ModelSpec& spec) {
  const std::string& arch = spec.architecture;
  spec.sliding_window = read_window(config, spec);
  const auto layers = static_cast<std::size_t>(spec.num_layers);
  spec.is_sliding.assign(layers, 0);
  if (const Json* kinds = json_find(config, "layer_types")) {
    spec.is_sliding = kinds_from_list(*kinds, spec.num_layers);
    const bool slides = std::find(spec.is_sliding.begin(), spec.is_sliding.end(), 1) != spec.is_sliding.end();
    if (slides && spec.sliding_window == 0)
      bad_format({"layer_types"}, "has sliding layers, but no sliding_window is in force");
    return;
  }
  if (spec.sliding_window == 0) return;
  if (arch == "gemma2" || arch == "gpt-oss") {
    spec.is_sliding = periodic_sliding(spec.num_layers, 2);
  } else if (arch == "gemma3") {
    const char* key =
        json_find(config, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
    spec.is_sliding = periodic_sliding(spec.num_layers, int_or(config, key, 6, 1, 1024));
  } else if (arch == "qwen2" || arch == "qwen3") {
    const int first = int_or(config, "max_window_layers", 28, 0, 1024);
    for (std::size_t l = 0; l < layers; ++l) spec.is_sliding[l] = static_cast<int>(l) >= first;
  } else {
    spec.is_sliding.assign(layers, 1);
  }
}

// --- scales
// -----------------------------------------------------------------------------------------------------------

void read_scales(const Json& config, ModelSpec& spec) {
  const std::string& arch = spec.architecture;
  double width = spec.head_dim;
  if (arch == "gemma2" || arch == "gemma3") {
    width = json_number_or(config, "query_pre_attn_scalar", 256.0);
    if (!(width > 0)) bad_format({"query_pre_attn_scalar"}, "expected a positive number, found {}", width);
    const double cap = arch == "gemma2" ? 50.0 : 0.0, final_cap = arch == "gemma2" ? 30.0 : 0.0;
    const auto cap_of = [&](const char* key, double fallback) {  // null switches a cap off
      return config.contains(key) && config.at(key).is_null() ? 0.0 : json_number_or(config, key, fallback);
    };
    spec.attention_soft_cap = cap_of("attn_logit_softcapping", cap);
    spec.logit_soft_cap = cap_of("final_logit_softcapping", final_cap);
  }
  spec.attention_scale = 1.0 / std::sqrt(width);
  if (arch == "gpt2") {
    if (!json_bool_or(config, "scale_attn_weights", true)) spec.attention_scale = 1.0;
    spec.scale_by_inverse_layer = json_bool_or(config, "scale_attn_by_inverse_layer_idx", false);
  }
  if (arch.starts_with("gemma")) spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  spec.tied_embeddings = json_bool_or(config, "tie_word_embeddings", arch.starts_with("gemma") || arch == "gpt2");
}

void read_experts(const Json& config, ModelSpec& spec) {
  if (spec.architecture != "gpt-oss") return;
  spec.moe.num_experts = int_of(config, "num_local_experts", 1, 1024);
  const char* key = json_find(config, "num_experts_per_tok") ? "num_experts_per_tok" : "experts_per_token";
  spec.moe.experts_per_token = int_of(config, key, 1, spec.moe.num_experts);
  for (const auto& [name, value] : {std::pair("swiglu_limit", 7.0), std::pair("swiglu_alpha", 1.702)})
    if (json_number_or(config, name, value) != value)
      fail(Errc::unsupported, {name}, "only {} is supported, found {}", value, json_number(config, name));
}

}  // namespace

ModelSpec spec_from_config(const Json& config) {
  const std::string model_type = json_string(config, "model_type");
  ModelSpec spec;
  const std::string architecture = architecture_of(model_type);
  if (!set_architecture(spec, architecture))
    fail(Errc::unsupported, {"model_type"}, "architecture '{}' is not supported (supported: {})", model_type,
         supported_architectures());
  if (model_type == "gemma3")
    fail(Errc::unsupported, {"model_type"}, "'gemma3' with a vision tower; only text models (gemma3_text)");
  refuse_unsupported(config);
  spec.file_format = "safetensors";
  check_activation(config, spec);
  read_sizes(config, spec);
  read_rope(config, spec);
  read_windows(config, spec);
  read_scales(config, spec);
  read_experts(config, spec);
  spec.config_json = dump_json(config);
  return spec;
}

}  // namespace headlight::formats
