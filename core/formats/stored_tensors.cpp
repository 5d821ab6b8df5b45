#include "core/formats/stored_tensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "core/formats/fail.h"

namespace headlight::formats {
namespace {

/// The stem of a tensor's name in a Hugging Face folder and in GGUF; ".weight" and ".bias" follow in both.
struct Stem {
  std::string_view hf, role;
  bool transposed = false;
};

constexpr Stem kGlobal[] = {{"embed_tokens", "token_embd"}, {"norm", "output_norm"}};
constexpr Stem kLayer[] = {
    {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},      {"self_attn.qkv_proj", "attn_qkv"},  {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"}, {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},           {"mlp.gate_up_proj", "ffn_up"},      {"mlp.down_proj", "ffn_down"},
    {"mlp.router", "ffn_gate_inp"},
};
constexpr Stem kPreNormLayer[] = {{"post_attention_layernorm", "ffn_norm"}};
constexpr Stem kOtherNormLayer[] = {{"post_attention_layernorm", "post_attention_norm"},
                                    {"pre_feedforward_layernorm", "ffn_norm"},
                                    {"post_feedforward_layernorm", "post_ffw_norm"}};
constexpr Stem kGpt2Global[] = {{"wte", "token_embd"}, {"wpe", "position_embd"}, {"ln_f", "output_norm"}};
constexpr Stem kGpt2Layer[] = {{"ln_1", "attn_norm"},
                               {"ln_2", "ffn_norm"},
                               {"attn.c_attn", "attn_qkv", true},
                               {"attn.c_proj", "attn_output", true},
                               {"mlp.c_fc", "ffn_up", true},
                               {"mlp.c_proj", "ffn_down", true}};

/// Names that do not follow the rule stem + suffix (gpt-oss).
constexpr Stem kWholeNames[] = {
    {"self_attn.sinks", "attn_sinks.weight"},
    {"mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"mlp.experts.gate_up_proj_bias", "ffn_gate_up_exps.bias"},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", true},
    {"mlp.experts.down_proj_bias", "ffn_down_exps.bias"},
};

struct Role {
  std::string name;
  bool transposed = false;
};

/// Both directions between the names of one Hugging Face folder and the roles.
class HfNames {
 public:
  HfNames(const ModelSpec& spec, std::string prefix) : prefix_(std::move(prefix)), gpt2_(spec.architecture == "gpt2") {
    const auto append = [](std::vector<Stem>& to, auto& from) {
      to.insert(to.end(), std::begin(from), std::end(from));
    };
    if (gpt2_) {
      append(global_, kGpt2Global);
      append(layer_, kGpt2Layer);
      return;
    }
    append(global_, kGlobal);
    if (spec.architecture == "phi3") layer_.push_back({"mlp.gate_up_proj", "ffn_up"});  // first: name_of() takes it
    append(layer_, kLayer);
    if (spec.block == BlockKind::pre_norm)
      append(layer_, kPreNormLayer);
    else
      append(layer_, kOtherNormLayer);
  }

  /// Role of a tensor, nullopt when its name is not known.
  std::optional<Role> role_of(std::string_view name) const {
    if (name == "lm_head.weight") return Role{"output.weight"};
    if (name == "lm_head.bias") return Role{"output.bias"};
    if (!name.starts_with(prefix_)) return std::nullopt;
    name.remove_prefix(prefix_.size());
    const std::string_view layers = layer_prefix();
    if (!name.starts_with(layers)) return by_stem(global_, name, "");
    name.remove_prefix(layers.size());
    const auto dot = name.find('.');
    const auto number = name.substr(0, dot);
    if (dot == std::string_view::npos || number.empty() || number.size() > 4 ||
        number.find_first_not_of("0123456789") != std::string_view::npos)
      return std::nullopt;
    name.remove_prefix(dot + 1);
    const std::string blk = fmt::format("blk.{}.", number);
    for (const auto& whole : kWholeNames)
      if (name == whole.hf) return Role{blk + std::string(whole.role), whole.transposed};
    return by_stem(layer_, name, blk);
  }

  /// How this folder would call a role, for messages.
  std::string name_of(const std::string& role) const {
    if (role.starts_with("output.")) return "lm_head" + role.substr(6);
    const auto suffix_at = role.rfind('.');
    const std::string suffix = role.substr(suffix_at);
    if (!role.starts_with("blk.")) return prefix_ + hf_stem(global_, role.substr(0, suffix_at)) + suffix;
    const auto dot = role.find('.', 4);
    const std::string base = prefix_ + std::string(layer_prefix()) + role.substr(4, dot - 4) + ".";
    for (const auto& whole : kWholeNames)
      if (role.substr(dot + 1) == whole.role) return base + std::string(whole.hf);
    return base + hf_stem(layer_, role.substr(dot + 1, suffix_at - dot - 1)) + suffix;
  }

 private:
  std::string_view layer_prefix() const { return gpt2_ ? "h." : "layers."; }

  static std::optional<Role> by_stem(const std::vector<Stem>& stems, std::string_view name, const std::string& blk) {
    for (const std::string_view suffix : {".weight", ".bias"}) {
      if (!name.ends_with(suffix)) continue;
      const auto stem = name.substr(0, name.size() - suffix.size());
      for (const auto& entry : stems)
        if (entry.hf == stem)
          return Role{blk + std::string(entry.role) + std::string(suffix), entry.transposed && suffix == ".weight"};
    }
    return std::nullopt;
  }

  static std::string hf_stem(const std::vector<Stem>& stems, const std::string& role) {
    for (const auto& entry : stems)
      if (entry.role == role) return std::string(entry.hf);
    return role;
  }

  std::string prefix_;
  bool gpt2_;
  std::vector<Stem> global_, layer_;
};

/// Buffers that folders carry along but that are no weights.
bool is_ignorable(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
         name.ends_with("position_ids");
}

std::string embedding_prefix(const ModelSpec& spec, const SafetensorsFile& file) {
  const std::string embedding = spec.architecture == "gpt2" ? "wte.weight" : "embed_tokens.weight";
  for (const char* prefix : {"model.", "transformer.", ""})
    if (file.find(prefix + embedding)) return prefix;
  bad_format({tensor_field(embedding)}, "is missing, with and without the prefixes 'model.' and 'transformer.'");
}

TensorType weight_type(const SafetensorsTensor& tensor) {
  if (const auto type = tensor.type()) return *type;
  const bool packed = tensor.name.ends_with("_blocks") || tensor.name.ends_with("_scales");
  if (tensor.dtype == "U8" && packed)
    fail(Errc::unsupported, {tensor_field(tensor.name)}, "MXFP4 weights are not supported; use a float version");
  fail(Errc::unsupported, {tensor_field(tensor.name)}, "weights of dtype {}; expected F32, F16 or BF16", tensor.dtype);
}

}  // namespace

StoredTensors stored_from_gguf(const ModelSpec& spec, const GgufFile& file, const DataOf& data) {
  StoredTensors stored;
  stored.rotary_pairs_adjacent = spec.architecture == "llama";
  stored.source_name = [](const std::string& role) { return role; };
  // gpt-oss files call the norm before the experts by the name that others give to the norm after attention.
  const bool renamed = spec.architecture == "gpt-oss";
  constexpr std::string_view kOther = ".post_attention_norm.weight";
  for (const auto& tensor : file.tensors()) {
    std::string role = tensor.name;
    if (renamed && role.ends_with(kOther)) role.replace(role.size() - kOther.size(), kOther.size(), ".ffn_norm.weight");
    const auto type = tensor_type_from_ggml(tensor.ggml_type);
    HEADLIGHT_CHECK(type.has_value());  // others were refused with the header
    stored.by_role[role] = {tensor.name, *type, tensor.shape, data(tensor.part, tensor.offset), false};
  }
  return stored;
}

StoredTensors stored_from_safetensors(const ModelSpec& spec, const SafetensorsFile& file, const DataOf& data) {
  const HfNames names(spec, embedding_prefix(spec, file));
  StoredTensors stored;
  stored.norms_lack_one = spec.architecture.starts_with("gemma");
  stored.source_name = [names](const std::string& role) { return names.name_of(role); };
  for (const auto& tensor : file.tensors()) {
    if (is_ignorable(tensor.name)) continue;
    const auto role = names.role_of(tensor.name);
    if (!role && !tensor.type() && tensor.dtype != "U8") continue;  // integers that are no weights
    const std::string name = role ? role->name : tensor.name;
    StoredTensor entry{tensor.name, weight_type(tensor), tensor.shape, data(tensor.part, tensor.offset),
                       role && role->transposed};
    if (!stored.by_role.emplace(name, std::move(entry)).second)
      bad_format({tensor_field(tensor.name)}, "has the same role ('{}') as another tensor", name);
  }
  return stored;
}

}  // namespace headlight::formats
