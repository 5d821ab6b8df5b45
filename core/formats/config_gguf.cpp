#include <cmath>

#include "core/formats/config.h"
#include "core/formats/fail.h"
#include "core/formats/tensor_type.h"

namespace headlight::formats {
namespace {

/// Keys below "<architecture>.", with the architecture's defaults.
class Reader {
 public:
  Reader(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string key(const std::string& name) const { return prefix_ + "." + name; }
  bool has(const std::string& name) const { return file_.find(key(name)) != nullptr; }

  int integer(const std::string& name) const {
    const auto value = file_.integer(key(name));
    if (!value) missing(name);
    return checked_int(*value, 0, kIntMax, key(name));
  }
  int integer_or(const std::string& name, int fallback) const { return has(name) ? integer(name) : fallback; }

  double number(const std::string& name) const {
    const auto value = file_.number(key(name));
    if (!value) missing(name);
    return *value;
  }
  double number_or(const std::string& name, double fallback) const { return has(name) ? number(name) : fallback; }

  /// A scalar or an array with one entry per layer, which must all be equal.
  int uniform(const std::string& name, int num_layers) const {
    const auto* value = file_.find(key(name));
    if (!value || !std::holds_alternative<GgufValue::Integers>(value->value)) return integer(name);
    const auto& values = *file_.integers(key(name));
    if (values.size() != static_cast<std::size_t>(num_layers))
      bad_format({key(name)}, "expected one value per layer ({}), found {}", num_layers, values.size());
    for (const auto entry : values)
      if (entry != values.front())
        fail(Errc::unsupported, {key(name)}, "differs between layers ({} and {})", values.front(), entry);
    return checked_int(values.front(), 0, kIntMax, key(name));
  }

 private:
  [[noreturn]] void missing(const std::string& name) const { bad_format({key(name)}, "is required but missing"); }

  const GgufFile& file_;
  std::string prefix_;
};

void read_sizes(const Reader& in, const GgufFile& file, ModelSpec& spec) {
  spec.num_layers = checked_int(in.integer("block_count"), 1, 1024, in.key("block_count"));
  spec.context_length = in.integer("context_length");
  spec.hidden_size = checked_int(in.integer("embedding_length"), 1, 1 << 17, in.key("embedding_length"));
  spec.intermediate_size = in.uniform("feed_forward_length", spec.num_layers);
  spec.num_heads =
      checked_int(in.uniform("attention.head_count", spec.num_layers), 1, 1024, in.key("attention.head_count"));
  spec.num_kv_heads = spec.num_heads;
  if (in.has("attention.head_count_kv"))
    spec.num_kv_heads =
        checked_int(in.uniform("attention.head_count_kv", spec.num_layers), 1, 1024, in.key("attention.head_count_kv"));
  if (in.has("attention.key_length")) {
    spec.head_dim = in.integer("attention.key_length");
  } else {
    if (spec.hidden_size % spec.num_heads != 0)
      bad_format({in.key("attention.head_count")}, "embedding_length {} is not a multiple of {} heads",
                 spec.hidden_size, spec.num_heads);
    spec.head_dim = spec.hidden_size / spec.num_heads;
  }
  const int value_length = in.integer_or("attention.value_length", spec.head_dim);
  if (value_length != spec.head_dim)
    fail(Errc::unsupported, {in.key("attention.value_length")}, "value heads of {} beside key heads of {}",
         value_length, spec.head_dim);
  if (const auto* embedding = file.find_tensor("token_embd.weight")) {
    if (embedding->shape.size() != 2)
      bad_format({tensor_field(embedding->name)}, "expected 2 dimensions, found {}", embedding->shape.size());
    spec.vocab_size = embedding->shape[0];
  } else if (const auto* tokens = file.strings("tokenizer.ggml.tokens")) {
    spec.vocab_size = static_cast<std::int64_t>(tokens->size());
  }
}

void read_norm(const Reader& in, ModelSpec& spec) {
  spec.norm_eps =
      in.number(spec.norm == NormKind::layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon");
}

RopeScaling read_scaling(const Reader& in, const GgufFile& file, const ReadFloats& read_floats, const ModelSpec& spec) {
  RopeScaling scaling;
  const auto* type = file.string(in.key("rope.scaling.type"));
  const std::string kind = type ? *type : in.has("rope.scale_linear") ? "linear" : "none";
  scaling.factor = in.number_or("rope.scaling.factor", in.number_or("rope.scale_linear", 1.0));
  scaling.original_context =
      in.number_or("rope.scaling.original_context_length", static_cast<double>(spec.context_length));
  const auto* long_factors = file.find_tensor("rope_factors_long.weight");
  const auto* short_factors = file.find_tensor("rope_factors_short.weight");
  if (kind == "longrope" || long_factors || short_factors) {
    if (!long_factors || !short_factors)
      bad_format({in.key("rope.scaling.type")}, "longrope needs the tensors rope_factors_long and rope_factors_short");
    scaling.kind = RopeScaling::Kind::longrope;
    scaling.long_factor = read_floats(*long_factors);
    scaling.short_factor = read_floats(*short_factors);
    scaling.factor = static_cast<double>(spec.context_length) / scaling.original_context;
    scaling.attention_factor = in.number_or("rope.scaling.attn_factor", 0.0);
    return scaling;
  }
  if (const auto* factors = file.find_tensor("rope_freqs.weight")) {
    scaling = {};
    scaling.kind = RopeScaling::Kind::factors;
    scaling.short_factor = read_floats(*factors);
    return scaling;
  }
  if (kind == "none") return {};
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (kind == "yarn") {
    scaling.kind = RopeScaling::Kind::yarn;
    scaling.beta_fast = in.number_or("rope.scaling.yarn_beta_fast", 32.0);
    scaling.beta_slow = in.number_or("rope.scaling.yarn_beta_slow", 1.0);
    scaling.truncate = spec.architecture != "gpt-oss";  // the format has no key; this model was trained without
    for (const char* name : {"rope.scaling.yarn_ext_factor", "rope.scaling.yarn_log_multiplier"}) {
      const double neutral = name == std::string_view("rope.scaling.yarn_ext_factor") ? 1.0 : 0.0;
      if (in.number_or(name, neutral) != neutral)
        fail(Errc::unsupported, {in.key(name)}, "only {} is supported, found {}", neutral, in.number(name));
    }
    const double attention =
        in.number_or("rope.scaling.attn_factor", in.number_or("rope.scaling.yarn_attn_factor", 1.0));
    if (attention != 1.0) scaling.attention_factor = attention * (0.1 * std::log(std::max(scaling.factor, 1.0)) + 1.0);
  } else {
    fail(Errc::unsupported, {in.key("rope.scaling.type")}, "unknown RoPE scaling '{}'", kind);
  }
  return scaling;
}

void read_rope(const Reader& in, const GgufFile& file, const ReadFloats& read_floats, ModelSpec& spec) {
  if (spec.learned_positions) return;
  spec.rotary_dim = in.integer_or("rope.dimension_count", spec.head_dim);
  if (in.has("rope.dimension_sections"))
    fail(Errc::unsupported, {in.key("rope.dimension_sections")}, "positions in several dimensions are not supported");
  spec.rope.theta = in.number_or("rope.freq_base", 10000.0);
  spec.rope.scaling = read_scaling(in, file, read_floats, spec);
  spec.rope_sliding = spec.rope;
  if (spec.architecture == "gemma3") {
    spec.rope_sliding = {};
    spec.rope_sliding.theta = in.number_or("rope.freq_base_swa", 10000.0);
  }
}

void read_windows(const Reader& in, const GgufFile& file, ModelSpec& spec) {
  const std::string& arch = spec.architecture;
  spec.is_sliding.assign(static_cast<std::size_t>(spec.num_layers), 0);
  const bool needs_window = arch == "gemma3" || arch == "gpt-oss";
  std::int64_t window = arch == "gemma2" ? in.integer_or("attention.sliding_window", 4096)
                        : needs_window   ? in.integer("attention.sliding_window")
                                         : in.integer_or("attention.sliding_window", 0);
  if (arch == "olmo2" && window != 0)
    fail(Errc::unsupported, {in.key("attention.sliding_window")}, "architecture 'olmo3' is not supported");
  if (window == 0 && !needs_window && arch != "gemma2") return;
  spec.sliding_window = checked_int(window, 1, kIntMax, in.key("attention.sliding_window"));

  const std::string key = in.key("attention.sliding_window_pattern");
  const auto* pattern = file.find(key);
  if (pattern && std::holds_alternative<std::vector<bool>>(pattern->value)) {
    const auto& kinds = std::get<std::vector<bool>>(pattern->value);
    if (kinds.size() != spec.is_sliding.size())
      bad_format({key}, "expected one value per layer ({}), found {}", spec.num_layers, kinds.size());
    spec.is_sliding.assign(kinds.begin(), kinds.end());
    return;
  }
  // Without a pattern the other architectures slide in every layer.
  const int period = arch == "gemma3" ? 6 : arch == "gemma2" || arch == "gpt-oss" ? 2 : 0;
  const int given = checked_int(in.integer_or("attention.sliding_window_pattern", period), 0, 1024, key);
  if (given == 0)
    spec.is_sliding.assign(spec.is_sliding.size(), 1);
  else
    spec.is_sliding = periodic_sliding(spec.num_layers, given);
}

void read_scales(const Reader& in, ModelSpec& spec) {
  const std::string& arch = spec.architecture;
  // The format has no key for the scale of the two models whose heads are not their own measure.
  const bool by_width = (arch == "gemma2" && spec.num_layers == 46) || (arch == "gemma3" && spec.num_layers == 62);
  const double width = by_width ? static_cast<double>(spec.hidden_size) / spec.num_heads : spec.head_dim;
  spec.attention_scale = in.number_or("attention.scale", 1.0 / std::sqrt(width));
  spec.attention_soft_cap = in.number_or("attn_logit_softcapping", arch == "gemma2" ? 50.0 : 0.0);
  spec.logit_soft_cap = in.number_or("final_logit_softcapping", arch == "gemma2" ? 30.0 : 0.0);
  if (arch.starts_with("gemma")) spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  for (const char* name : {"embedding_scale", "residual_scale", "logit_scale"})
    if (in.number_or(name, 1.0) != 1.0)
      fail(Errc::unsupported, {in.key(name)}, "scale {} in architecture '{}'", in.number(name), arch);
}

void read_experts(const Reader& in, ModelSpec& spec) {
  const int experts = in.integer_or("expert_count", 0);
  if (spec.architecture != "gpt-oss") {
    if (experts != 0)
      fail(Errc::unsupported, {in.key("expert_count")}, "{} experts in architecture '{}'", experts, spec.architecture);
    return;
  }
  spec.moe.num_experts = checked_int(in.integer("expert_count"), 1, 1024, in.key("expert_count"));
  spec.moe.experts_per_token = in.integer("expert_used_count");
  spec.intermediate_size = in.integer_or("expert_feed_forward_length", spec.intermediate_size);
}

Json scalar_metadata(const GgufFile& file) {
  Json json = Json::object();
  for (const auto& [key, value] : file.metadata()) {
    if (const auto* integer = std::get_if<std::int64_t>(&value.value)) json[key] = *integer;
    if (const auto* huge = std::get_if<std::uint64_t>(&value.value)) json[key] = *huge;
    if (const auto* number = std::get_if<double>(&value.value)) json[key] = *number;
    if (const auto* flag = std::get_if<bool>(&value.value)) json[key] = *flag;
    if (const auto* text = std::get_if<std::string>(&value.value)) json[key] = *text;
  }
  return json;
}

}  // namespace

ModelSpec spec_from_gguf(const GgufFile& file, const ReadFloats& read_floats) {
  const auto* architecture = file.string("general.architecture");
  if (!architecture) bad_format({"general.architecture"}, "is required but missing");
  const auto* type = file.string("general.type");
  if (*architecture == "clip" || (type && *type == "mmproj"))
    fail(Errc::unsupported, {"general.architecture"}, "a vision projector ('{}'), not a language model", *architecture);
  if (type && *type == "adapter") fail(Errc::unsupported, {"general.type"}, "a LoRA adapter, not a model");
  ModelSpec spec;
  if (*architecture == "mistral" || !set_architecture(spec, *architecture))
    fail(Errc::unsupported, {"general.architecture"}, "architecture '{}' is not supported (supported: {})",
         *architecture, supported_architectures());
  spec.file_format = "gguf";
  if (const auto* name = file.string("general.name")) spec.name = *name;

  const Reader in(file, *architecture);
  read_sizes(in, file, spec);
  read_norm(in, spec);
  read_rope(in, file, read_floats, spec);
  read_windows(in, file, spec);
  read_scales(in, spec);
  read_experts(in, spec);
  if (file.boolean(in.key("attention.causal")) == false)
    fail(Errc::unsupported, {in.key("attention.causal")}, "attention without a causal mask");
  spec.tied_embeddings = file.find_tensor("output.weight") == nullptr;
  spec.config_json = dump_json(scalar_metadata(file));
  return spec;
}

}  // namespace headlight::formats
