#include "tests/support/synthetic_model.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "core/formats/quantize.h"
#include "core/formats/safetensors_writer.h"

namespace headlight::testing_support {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(HEADLIGHT_SOURCE_DIR) / "tests" / "golden";

std::size_t count_of(const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const auto length : shape) count *= static_cast<std::size_t>(length);
  return count;
}

SyntheticTensor make_tensor(const std::string& name, std::vector<std::int64_t> shape, const std::string& kind) {
  SyntheticTensor tensor{name, std::move(shape), kind, {}};
  tensor.values = synthetic_values(name, count_of(tensor.shape), kind);
  return tensor;
}

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
}

}  // namespace

std::vector<float> synthetic_values(std::string_view name, std::size_t count, std::string_view kind) {
  std::uint64_t hash = 14695981039346656037ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15ull;
  const float amplitude = kind == "matrix" ? 0.35f : 0.3f;
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t z = hash + i * kStep + kStep;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    const float t = static_cast<float>(z >> 40) * 0x1p-23f - 1.0f;
    const float product = t * amplitude;
    values[i] = kind == "norm_plus_one" ? product + 1.0f : product;
  }
  return values;
}

std::vector<std::string> golden_model_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGolden))
    if (fs::exists(entry.path() / "tensors.json")) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

SyntheticModel golden_model(const std::string& name, bool old_config) {
  const auto folder = kGolden / name;
  SyntheticModel model;
  model.config = load_json((folder / (old_config ? "config_old.json" : "config.json")).string());
  const Json tensors = load_json((folder / "tensors.json").string());
  for (const auto& [tensor, facts] : tensors.items())
    model.tensors.push_back(
        make_tensor(tensor, facts.at("shape").get<std::vector<std::int64_t>>(), facts.at("kind").get<std::string>()));
  return model;
}

SyntheticModel one_layer_llama(int hidden, int feed_forward, int kv_heads, int vocab) {
  SyntheticModel model;
  const int head_dim = hidden / (2 * kv_heads);
  model.config = {{"model_type", "llama"},
                  {"architectures", {"LlamaForCausalLM"}},
                  {"vocab_size", vocab},
                  {"hidden_size", hidden},
                  {"intermediate_size", feed_forward},
                  {"num_hidden_layers", 1},
                  {"num_attention_heads", 2 * kv_heads},
                  {"num_key_value_heads", kv_heads},
                  {"head_dim", head_dim},
                  {"max_position_embeddings", 64},
                  {"rms_norm_eps", 1e-5},
                  {"hidden_act", "silu"},
                  {"tie_word_embeddings", false},
                  {"rope_theta", 10000.0}};
  const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
    model.tensors.push_back(make_tensor(name, {rows, cols}, "matrix"));
  };
  const auto norm = [&](const std::string& name) {
    model.tensors.push_back(make_tensor(name, {hidden}, "norm_plus_one"));
  };
  const std::string layer = "model.layers.0.";
  matrix("model.embed_tokens.weight", vocab, hidden);
  matrix(layer + "self_attn.q_proj.weight", hidden, hidden);
  matrix(layer + "self_attn.k_proj.weight", hidden / 2, hidden);
  matrix(layer + "self_attn.v_proj.weight", hidden / 2, hidden);
  matrix(layer + "self_attn.o_proj.weight", hidden, hidden);
  matrix(layer + "mlp.gate_proj.weight", feed_forward, hidden);
  matrix(layer + "mlp.up_proj.weight", feed_forward, hidden);
  matrix(layer + "mlp.down_proj.weight", hidden, feed_forward);
  norm(layer + "input_layernorm.weight");
  norm(layer + "post_attention_layernorm.weight");
  norm("model.norm.weight");
  matrix("lm_head.weight", vocab, hidden);
  return model;
}

SyntheticModel wide_llama() {
  return one_layer_llama(256, 512, 2, 96);
}

void write_safetensors_file(const std::vector<SyntheticTensor>& tensors, const fs::path& file, TensorType type) {
  std::vector<std::vector<std::byte>> parts;
  for (const auto& tensor : tensors) parts.push_back(formats::quantize_row(type, tensor.values));
  formats::SafetensorsWriter writer;
  for (std::size_t t = 0; t < tensors.size(); ++t) writer.add(tensors[t].name, type, tensors[t].shape, parts[t]);
  writer.write(file, true);
}

void write_safetensors(const SyntheticModel& model, const fs::path& folder, TensorType type) {
  fs::create_directories(folder);
  write_text(folder / "config.json", model.config.dump(2));
  write_safetensors_file(model.tensors, folder / "model.safetensors", type);
}

}  // namespace headlight::testing_support
