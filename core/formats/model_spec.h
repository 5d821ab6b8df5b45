#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headlight::formats {

enum class NormKind { rms, layer };
enum class Activation { silu, gelu_exact, gelu_tanh, quick_gelu };
enum class BlockKind {
  pre_norm,   ///< x += Attn(N1 x); x += FFN(N2 x)                 llama, mistral, qwen, phi3, gpt2, gpt-oss
  sandwich,   ///< x += N2(Attn(N1 x)); x += N4(FFN(N3 x))         gemma2, gemma3
  post_norm,  ///< x += N1(Attn(x)); x += N2(FFN(x))               olmo2
};

/// How rotary frequencies are stretched beyond the trained context. inv_freq[j] = theta^(-2j/rotary_dim).
struct RopeScaling {
  enum class Kind {
    none,
    linear,    ///< inv_freq / factor
    dynamic,   ///< NTK: theta grows with the length once it exceeds original_context
    llama3,    ///< low frequencies divided, high kept, smooth between
    yarn,      ///< ramp between both, attention factor on cos and sin
    longrope,  ///< per-frequency factors, chosen by length
    factors,   ///< inv_freq[j] / factors[j]: llama3 scaling as baked into a GGUF file
  };
  Kind kind = Kind::none;
  double factor = 1.0;
  double original_context = 0.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  double mscale = 0.0, mscale_all_dim = 0.0;             // yarn; 0 = not given
  bool truncate = true;                                  // yarn
  double attention_factor = 0.0;                         // yarn, longrope; 0 = by formula
  std::vector<float> short_factor, long_factor;          // longrope; `factors` uses the first
};

struct RopeSpec {
  double theta = 10000.0;
  RopeScaling scaling;
};

struct MoeSpec {
  int num_experts = 0;  ///< 0 = dense
  int experts_per_token = 0;
};

/// Everything the engine needs to know about a model, the same whichever file it came from.
struct ModelSpec {
  std::string architecture;  ///< "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "gpt2",
                             ///< "olmo2", "gpt-oss"
  std::string name;          ///< general.name or the folder's name
  std::string file_format;   ///< "gguf" or "safetensors"
  std::string quantization;  ///< most frequent type of the matrices, e.g. "Q4_1", "BF16"

  int num_layers = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int rotary_dim = 0;  ///< leading dimensions of a head that rotate; 0 = no RoPE (gpt2)
  std::int64_t vocab_size = 0;
  std::int64_t context_length = 0;
  std::int64_t num_parameters = 0;

  NormKind norm = NormKind::rms;
  double norm_eps = 1e-6;
  Activation activation = Activation::silu;
  bool gated_ffn = true;
  bool clamped_swiglu = false;  ///< gpt-oss: g = min(g, 7), u = clamp(u, -7, 7), (u + 1) g sigma(1.702 g)
  BlockKind block = BlockKind::pre_norm;

  RopeSpec rope;                   ///< full-attention layers
  RopeSpec rope_sliding;           ///< sliding layers (equal to `rope` except for gemma3)
  bool learned_positions = false;  ///< gpt2: context_length is a hard limit

  std::int64_t sliding_window = 0;       ///< W: key j is visible iff i - W < j <= i; 0 = none
  std::vector<std::uint8_t> is_sliding;  ///< [num_layers] 1 = sliding layer
  bool causal = true;
  double attention_scale = 0.0;         ///< multiplies q.k
  bool scale_by_inverse_layer = false;  ///< gpt2 option: scale / (layer + 1)
  double attention_soft_cap = 0.0;      ///< 0 = off
  double logit_soft_cap = 0.0;          ///< 0 = off
  double embedding_scale = 1.0;         ///< gemma: sqrt(hidden_size)
  bool tied_embeddings = false;
  enum class QkNorm {
    none,
    per_head,
    whole
  } qk_norm = QkNorm::none;    ///< whole = over H*D before the head split (olmo2)
  bool learned_sinks = false;  ///< one extra logit per head in the softmax denominator (gpt-oss)
  MoeSpec moe;

  std::string config_json;  ///< config.json as read, or the GGUF metadata without arrays, for provenance
};

/// Refuses contradictions (heads that do not divide, odd rotary_dim, ...). @error bad_format naming the field
void validate(const ModelSpec& spec);

}  // namespace headlight::formats
