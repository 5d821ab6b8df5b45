// Writes the seeds of the fuzz targets: make_seeds FOLDER. Each is at most a few KiB.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/formats/tensor_type.h"
#include "tests/support/raw_gguf.h"
#include "tests/support/synthetic_model.h"

namespace fs = std::filesystem;
using namespace headlight;
using namespace headlight::testing_support;

namespace {

void save(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

/// One key of every value type and every element type.
std::string all_values() {
  RawGguf file;
  for (std::uint32_t type = 0; type <= 12; ++type) {
    const std::string value = type == 8   ? raw_string("text")
                              : type == 9 ? raw<std::uint32_t>(4) + raw<std::uint64_t>(2) + raw(1u) + raw(2u)
                              : type == 7 ? std::string(1, '\1')
                                          : std::string(type < 2   ? 1
                                                        : type < 4 ? 2
                                                        : type < 7 ? 4
                                                                   : 8,
                                                        '\0');
    file.keys.push_back(raw_key("key" + std::to_string(type), type, value));
    if (type == 9) continue;
    file.keys.push_back(raw_key("array" + std::to_string(type), 9, raw(type) + raw<std::uint64_t>(1) + value));
  }
  return file.bytes();
}

/// One row of every tensor type.
std::string all_types() {
  RawGguf file;
  for (std::uint32_t id = 0; id < 64; ++id) {
    const auto type = tensor_type_from_ggml(id);
    if (!type) continue;
    file.tensors.push_back(raw_tensor(std::string(info(*type).name), {info(*type).block_size}, id, file.data.size()));
    file.data.append((info(*type).block_bytes + 31) / 32 * 32, '\3');
  }
  return file.bytes();
}

SyntheticModel tiny_model(const std::string& arch) {
  auto model = one_layer_llama(8, 8, 1, 3);
  model.config["model_type"] = arch;
  return model;
}

std::string gguf_of(const SyntheticModel& model) {
  const auto bytes = gguf_parts(model).writer().bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_seeds FOLDER\n");
    return 2;
  }
  const fs::path out = argv[1];
  save(out / "gguf" / "values", all_values());
  save(out / "gguf" / "types", all_types());
  save(out / "gguf" / "llama", gguf_of(tiny_model("llama")));
  auto split = RawGguf{};
  split.keys = {raw_key("split.no", 2, raw<std::uint16_t>(0)), raw_key("split.count", 2, raw<std::uint16_t>(2)),
                raw_u32_key("general.alignment", 64)};
  split.alignment = 64;
  save(out / "gguf" / "split", split.bytes());

  const fs::path folder = out / "safetensors";
  fs::create_directories(folder);
  write_safetensors_file({{"a", {2, 3}, "matrix", std::vector<float>(6, 1.0f)}, {"b", {}, "vector", {2.0f}}},
                         folder / "two");
  write_safetensors_file({{"h", {4}, "vector", std::vector<float>(4, 1.0f)}}, folder / "half", TensorType::bf16);
  write_safetensors_file({}, folder / "empty");

  save(out / "json" / "all",
       R"({"a": [1, -2, 3.5e-3, true, false, null, "\u00e9\n\ud83d\ude00"], "b": {"c": {}}, "d": []})");
  save(out / "json" / "big", R"([18446744073709551615, -9223372036854775808, 1e308, 0.1, ""])");
  for (const auto& name : golden_model_names()) {
    save(out / "config" / name, golden_model(name).config.dump());
    if (name == "gemma3" || name == "phi3" || name == "llama_yarn")
      save(out / "config" / (name + "_old"), golden_model(name, true).config.dump());
  }
  return 0;
}
