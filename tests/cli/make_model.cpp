// Writes the models of these tests into a folder: tiny.gguf (F32, with tokenizer and chat template), tiny-q8.gguf (the
// same rounded to Q8_0), tiny-hf/ (the same as safetensors) and bare/ (safetensors without a tokenizer).
//
// A llama of 3 layers with 4 heads, 2 key-value heads and a context of 65536, so that a run can be made long enough to
// be interrupted. The vocabulary is padded by eight ids that the tokenizer does not know, as in many real models.

#include <cstdio>
#include <exception>
#include <filesystem>

#include <fmt/format.h>

#include "tests/support/synthetic_model.h"

namespace headlight::testing_support {
namespace {

namespace fs = std::filesystem;
using formats::GgufValue;

constexpr int kLayers = 3, kTokens = 512, kPadding = 8;
constexpr const char* kChatTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

SyntheticModel tiny_llama() {
  SyntheticModel model = one_layer_llama(32, 64, 2, kTokens + kPadding);
  const std::vector<SyntheticTensor> first = model.tensors;
  for (int l = 1; l < kLayers; ++l)
    for (SyntheticTensor tensor : first) {
      const auto at = tensor.name.find("layers.0.");
      if (at == std::string::npos) continue;
      tensor.name.replace(at, 9, fmt::format("layers.{}.", l));
      tensor.values = synthetic_values(tensor.name, tensor.values.size(), tensor.kind);
      model.tensors.push_back(std::move(tensor));
    }
  model.config["num_hidden_layers"] = kLayers;
  model.config["max_position_embeddings"] = 65536;
  return model;
}

/// The trained vocabulary as the converters of the GGUF world store one.
void add_tokenizer(GgufParts& parts, const Json& tokenizer) {
  const Json& model = tokenizer.at("model");
  GgufValue::Strings tokens(kTokens), merges;
  GgufValue::Integers types(kTokens, 1);
  for (const auto& [text, id] : model.at("vocab").items()) tokens.at(id.get<std::size_t>()) = text;
  for (const Json& token : tokenizer.at("added_tokens")) types.at(token.at("id").get<std::size_t>()) = 3;
  for (const Json& merge : model.at("merges"))
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  parts["tokenizer.ggml.model"].value = std::string("gpt2");
  parts["tokenizer.ggml.pre"].value = std::string("smollm");
  parts["tokenizer.ggml.tokens"].value = tokens;
  parts["tokenizer.ggml.token_type"].value = types;
  parts["tokenizer.ggml.merges"].value = merges;
  parts["tokenizer.ggml.bos_token_id"].value = std::int64_t{1};
  parts["tokenizer.ggml.eos_token_id"].value = std::int64_t{2};
  parts["tokenizer.chat_template"].value = std::string(kChatTemplate);
}

void make(const fs::path& folder) {
  const fs::path trained = fs::path(HEADLIGHT_SOURCE_DIR) / "tests/golden/tokenizers/bpe_smollm.json";
  const SyntheticModel model = tiny_llama();
  fs::create_directories(folder);
  for (const auto& [name, type] :
       {std::pair("tiny.gguf", TensorType::f32), std::pair("tiny-q8.gguf", TensorType::q8_0)}) {
    GgufParts parts = gguf_parts(model, type);
    add_tokenizer(parts, load_json(trained.string()));
    parts.writer().write(folder / name, true);
  }
  write_safetensors(model, folder / "bare");
  write_safetensors(model, folder / "tiny-hf");
  fs::copy_file(trained, folder / "tiny-hf" / "tokenizer.json", fs::copy_options::overwrite_existing);
}

}  // namespace
}  // namespace headlight::testing_support

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_model FOLDER\n", stderr);
    return 2;
  }
  try {
    headlight::testing_support::make(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_model: %s\n", error.what());
    return 1;
  }
  return 0;
}
