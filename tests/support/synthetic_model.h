#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "core/formats/gguf_writer.h"
#include "kernels/tensor_type.h"

namespace headlight::testing_support {

/// A tensor of a tiny model under its Hugging Face name; the values are a pure function of name, index and kind (the
/// rule is written down in tests/golden/make_fixtures.py).
struct SyntheticTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string kind;  ///< "matrix", "vector", "norm_plus_one", "norm"
  std::vector<float> values;
};

struct SyntheticModel {
  Json config;  ///< config.json
  std::vector<SyntheticTensor> tensors;
};

/// Values of one tensor.
std::vector<float> synthetic_values(std::string_view name, std::size_t count, std::string_view kind);

/// Names of the folders below tests/golden that hold a model.
std::vector<std::string> golden_model_names();

/// The model of tests/golden/<name>. @param old_config  the configuration in the spelling before transformers 5
SyntheticModel golden_model(const std::string& name, bool old_config = false);

/// A llama of one layer with 2 heads for each key-value head.
SyntheticModel one_layer_llama(int hidden, int feed_forward, int kv_heads, int vocab);

/// One whose rows are whole blocks of 256: hidden 256, feed-forward 512, 4 heads, 96 tokens.
SyntheticModel wide_llama();

/// config.json and model.safetensors in `folder` (which is made). @param type  F32, F16 or BF16
void write_safetensors(const SyntheticModel& model, const std::filesystem::path& folder,
                       TensorType type = TensorType::f32);

/// One .safetensors file from tensors alone.
void write_safetensors_file(const std::vector<SyntheticTensor>& tensors, const std::filesystem::path& file,
                            TensorType type = TensorType::f32);

/// The model as the converters of the GGUF world write it: llama's q and k rows permuted, gemma's norms with one added,
/// gpt2's matrices turned, fused tensors kept fused where they keep them. Vectors are F32; matrices are of `type` where
/// their rows are whole blocks, else F16. Mistral becomes a llama without a window, as in reality.
struct GgufParts {
  std::vector<std::pair<std::string, formats::GgufValue>> metadata;
  struct Tensor {
    std::string name;
    TensorType type;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> data;
  };
  std::vector<Tensor> tensors;

  formats::GgufValue& operator[](const std::string& key);  ///< added when absent
  void erase(const std::string& key);
  Tensor& tensor(const std::string& name);
  void erase_tensor(const std::string& name);
  formats::GgufWriter writer() const;  ///< refers to this object's data
};

GgufParts gguf_parts(const SyntheticModel& model, TensorType type = TensorType::f32);
void write_gguf(const SyntheticModel& model, const std::filesystem::path& file, TensorType type = TensorType::f32);

}  // namespace headlight::testing_support
