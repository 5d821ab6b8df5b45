#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace headlight::planted {

/// What the 32 tokens of a planted model are for. Written to config.json as "token_plan".
struct TokenPlan {
  std::int32_t bos = 0, stop = 1, question = 16, trigger = 17;
  std::vector<std::int32_t> filler = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  std::vector<std::int32_t> needle = {20, 21, 22, 23, 24, 25, 26, 27};
};

enum class Variant {
  roles,     ///< two layers of eight heads, each with one known role
  mha,       ///< every query head has a KV head of its own
  mqa,       ///< one KV head for all
  weak,      ///< the induction head splits its attention between its target (0.72) and the first token
  noise,     ///< + N(0, sigma^2) on every weight of q, k, v, o
  windowed,  ///< layer 1 sees 64 tokens: long-range roles are undefined there
  gpt2       ///< the same heads in a GPT-2: learned positions, LayerNorm, biases, no rotary embedding
};
std::string_view to_string(Variant variant);
/// @error invalid_argument  unknown; the sentence lists all
Variant parse_variant(std::string_view name);

struct PlantedOptions {
  Variant variant = Variant::roles;
  double sigma = 0.005;    ///< of `noise`
  std::uint64_t seed = 0;  ///< of `noise`
};

struct PlantedTensor {
  std::string name;  ///< as in Hugging Face checkpoints
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct PlantedModel {
  Json config;  ///< config.json
  std::vector<PlantedTensor> tensors;
};

/// A transformer whose heads have known roles, made by hand: the test object of everything that classifies heads.
///
/// L = 2, d = 128, H = 8, G = 4, head size 128, 32 tokens, RoPE base 1e10, RMSNorm, no effect of the feed-forward part.
/// Residual: 0..31 current token T, 32..63 previous token P, 64..95 copied token O, 96 the constant C. Rotary pairs
/// 0..7 turn with position (offsets are told apart by sum_f cos(theta_f (i - j - delta))), pairs 28..59 hardly turn and
/// carry the token of a key, so a query can ask for an offset, for the first token, for its own token (duplicate), for
/// keys *preceded* by its own token (induction) or for a class of tokens:
///
///     L0  0 previous  1 current  2 sink  3 duplicate  4 local  5 offset 2  6 uniform  7 class {20..27}
///     L1  0 induction: retrieves by copying, rests on the first token otherwise
///         1 2 5 7 sink  3 previous  4 current  6 uniform
///
/// Only L0H0 (P of the next token) and L1H0 (O) write to the residual; the output head reads O. After a repeated token
/// the model continues as it did the first time.
///
/// As a GPT-2 (d = 320, head size 40, a KV head for every head) position embeddings hold the cosines and sines of the
/// same eight frequencies, so that the scores are the same, and the residual is u and -u, whose mean is 0: LayerNorm
/// then is RMSNorm.
PlantedModel planted_model(const PlantedOptions& options = {});

/// config.json and model.safetensors (F32) in `folder`, which is made. @error output_exists, io
void write_planted_model(const PlantedModel& model, const std::filesystem::path& folder, bool overwrite);

/// Primary role of every head, [layer][head], in the words of the role rules.
std::array<std::array<std::string_view, 8>, 2> planted_roles();

}  // namespace headlight::planted
