// Finding models on disk, and models whose tensors do not fit their description.
#include "core/formats/model_file.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/formats/chat_template.h"
#include "core/formats/quantize.h"
#include "core/formats/registry.h"
#include "tests/support/refusal.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::formats {
namespace {

using namespace testing_support;
namespace fs = std::filesystem;

void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// An environment variable for the length of a test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(OpenModel, FindsTheModelByContent) {
  const TempFolder folder;
  const auto model = golden_model("qwen3");
  write_safetensors(model, folder / "hf");
  EXPECT_EQ(open_model(folder / "hf").spec.name, "hf");
  EXPECT_EQ(open_model(folder / "hf/").spec.name, "hf");
  EXPECT_EQ(open_model(folder / "hf" / "model.safetensors").spec.file_format, "safetensors");
  write_text(folder / "one" / "mmproj-model.gguf", "not looked at");
  write_gguf(model, folder / "one" / "model.gguf");
  EXPECT_EQ(open_model(folder / "one").spec.file_format, "gguf");
  fs::copy_file(folder / "one" / "model.gguf", folder / "without_extension");
  const auto opened = open_model(folder / "without_extension");
  EXPECT_EQ(opened.spec.architecture, "qwen3");
  EXPECT_EQ(opened.spec.name, "synthetic qwen3");
  EXPECT_EQ(opened.tokenizer, nullptr);
  EXPECT_TRUE(opened.chat_template.empty());
  EXPECT_EQ(opened.files, std::vector<fs::path>{folder / "without_extension"});
}

TEST(OpenModel, ReadsTheChatTemplate) {
  const TempFolder folder;
  const auto model = golden_model("llama");
  write_safetensors(model, folder.path());
  write_text(folder / "tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "{{ a }}"}]})");
  EXPECT_EQ(open_model(folder.path()).chat_template, "{{ a }}");
  write_text(folder / "tokenizer_config.json", R"({"chat_template": "{{ b }}"})");
  EXPECT_EQ(open_model(folder.path()).chat_template, "{{ b }}");
  write_text(folder / "chat_template.jinja", "{{ c }}");
  EXPECT_EQ(open_model(folder.path()).chat_template, "{{ c }}");
  auto parts = gguf_parts(model);
  parts["tokenizer.chat_template"].value = std::string("{{ d }}");
  parts.writer().write(folder / "m.gguf", false);
  EXPECT_EQ(open_model(folder / "m.gguf").chat_template, "{{ d }}");
}

TEST(OpenModel, WhatIsNotAModel) {
  const TempFolder folder;
  const auto refuse = [&](const fs::path& path, Errc code, std::initializer_list<std::string_view> mentions) {
    const auto text = expect_refused([&] { open_model(path); }, code, mentions);
    EXPECT_NE(text.find(path.filename().string()), std::string::npos) << text;
  };
  refuse(folder / "absent", Errc::not_found, {"no such file"});
  fs::create_directories(folder / "empty");
  refuse(folder / "empty", Errc::not_found, {"found nothing"});
  write_text(folder / "other" / "readme.txt", "x");
  write_text(folder / "other" / "config.json", "{}");
  refuse(folder / "other", Errc::not_found, {"readme.txt"});
  write_text(folder / "pickle" / "config.json", "{}");
  write_text(folder / "pickle" / "pytorch_model.bin", "x");
  refuse(folder / "pickle", Errc::unsupported, {"pickled", "safetensors"});
  refuse(folder / "pickle" / "pytorch_model.bin", Errc::unsupported, {"pickled"});
  write_text(folder / "two" / "a.gguf", "GGUF");
  write_text(folder / "two" / "b.gguf", "GGUF");
  refuse(folder / "two", Errc::invalid_argument, {"2 .gguf files"});
  write_text(folder / "alone" / "model.safetensors", "x");
  refuse(folder / "alone" / "model.safetensors", Errc::not_found, {"config.json"});
  write_text(folder / "zero.gguf", "");
  refuse(folder / "zero.gguf", Errc::bad_format, {"24 bytes"});
  refuse("/dev/null", Errc::unreadable, {"not a regular file"});
}

TEST(OpenModel, PointerFilesInAFolder) {
  const TempFolder folder;
  write_safetensors(golden_model("llama"), folder.path());
  write_text(folder / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  expect_refused([&] { open_model(folder.path()); }, Errc::bad_format, {"model.safetensors", "git-LFS"});
}

TEST(OpenModel, WindowCanBeOverridden) {
  const TempFolder folder;
  write_gguf(golden_model("mistral"), folder / "m.gguf");
  OpenModelOptions options;
  EXPECT_EQ(open_model(folder / "m.gguf", options).spec.sliding_window, 0);
  options.sliding_window = 6;
  const auto spec = open_model(folder / "m.gguf", options).spec;
  EXPECT_EQ(spec.sliding_window, 6);
  EXPECT_THAT(spec.is_sliding, testing::Each(1));
  write_gguf(golden_model("gemma3"), folder / "g.gguf");
  EXPECT_THAT(open_model(folder / "g.gguf", options).spec.is_sliding, testing::ElementsAre(1, 1, 0, 1));
  options.sliding_window = 0;
  EXPECT_THAT(open_model(folder / "g.gguf", options).spec.is_sliding, testing::Each(0));
}

// --- tensors
// ----------------------------------------------------------------------------------------------------------

class Tensors : public testing::Test {
 protected:
  void refuse_gguf(const GgufParts& parts, Errc code, std::initializer_list<std::string_view> mentions) {
    parts.writer().write(folder_ / "m.gguf", true);
    const auto text = expect_refused([&] { open_model(folder_ / "m.gguf"); }, code, mentions);
    EXPECT_NE(text.find("m.gguf"), std::string::npos) << text;
  }
  void refuse_hf(const SyntheticModel& model, Errc code, std::initializer_list<std::string_view> mentions) {
    write_safetensors(model, folder_ / "hf");
    expect_refused([&] { open_model(folder_ / "hf"); }, code, mentions);
  }
  static SyntheticTensor& tensor(SyntheticModel& model, const std::string& name) {
    for (auto& entry : model.tensors)
      if (entry.name == name) return entry;
    throw std::invalid_argument(name);
  }
  static SyntheticModel without(const std::string& golden, const std::string& name) {
    auto model = golden_model(golden);
    const auto removed = std::erase_if(model.tensors, [&](const auto& entry) { return entry.name == name; });
    EXPECT_EQ(removed, 1u);
    return model;
  }
  TempFolder folder_;
};

TEST_F(Tensors, EveryTensorIsNeeded) {
  for (const auto& name : golden_model_names()) {
    SCOPED_TRACE(name);
    const auto model = golden_model(name);
    for (const auto& entry : model.tensors) {
      if (entry.name.find(".1.") != std::string::npos || entry.name.find(".2.") != std::string::npos) continue;
      const auto rest = without(name, entry.name);
      write_safetensors(rest, folder_ / "hf");
      try {
        open_model(folder_ / "hf");
        ADD_FAILURE() << "accepted without " << entry.name;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Errc::bad_format) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr("is missing")) << entry.name;
      }
    }
  }
}

TEST_F(Tensors, MissingOnesAreNamedAsTheFileWould) {
  refuse_hf(without("llama", "model.layers.3.mlp.up_proj.weight"), Errc::bad_format,
            {"model.safetensors", "tensor 'model.layers.3.mlp.up_proj.weight'", "is missing"});
  refuse_hf(without("phi3", "model.layers.0.mlp.gate_up_proj.weight"), Errc::bad_format,
            {"tensor 'model.layers.0.mlp.gate_up_proj.weight'"});
  refuse_hf(without("gpt2", "transformer.h.2.ln_2.bias"), Errc::bad_format, {"tensor 'transformer.h.2.ln_2.bias'"});
  refuse_hf(without("gemma2", "model.layers.1.pre_feedforward_layernorm.weight"), Errc::bad_format,
            {"tensor 'model.layers.1.pre_feedforward_layernorm.weight'"});
  refuse_hf(without("gpt_oss", "model.layers.1.self_attn.sinks"), Errc::bad_format,
            {"tensor 'model.layers.1.self_attn.sinks'"});
  refuse_hf(without("llama", "lm_head.weight"), Errc::bad_format, {"tensor 'lm_head.weight'", "is missing"});
  refuse_hf(without("llama", "model.embed_tokens.weight"), Errc::bad_format, {"embed_tokens.weight"});
  auto parts = gguf_parts(golden_model("llama"));
  parts.erase_tensor("blk.2.ffn_down.weight");
  refuse_gguf(parts, Errc::bad_format, {"tensor 'blk.2.ffn_down.weight'", "is missing"});
}

TEST_F(Tensors, WrongShapes) {
  auto parts = gguf_parts(golden_model("llama"));
  std::swap(parts.tensor("blk.0.ffn_up.weight").shape[0], parts.tensor("blk.0.ffn_up.weight").shape[1]);
  refuse_gguf(parts, Errc::bad_format, {"tensor 'blk.0.ffn_up.weight'", "expected shape [112, 64], found [64, 112]"});
  parts = gguf_parts(golden_model("llama"));
  parts.tensor("blk.1.attn_norm.weight").shape = {8, 8};
  refuse_gguf(parts, Errc::bad_format, {"tensor 'blk.1.attn_norm.weight'", "[64]", "[8, 8]"});
  parts = gguf_parts(golden_model("llama"));
  parts.tensor("token_embd.weight").shape = {96 * 64};
  refuse_gguf(parts, Errc::bad_format, {"tensor 'token_embd.weight'", "2 dimensions"});
  auto model = golden_model("llama");
  model.config["vocab_size"] = 100;
  refuse_hf(model, Errc::bad_format, {"tensor 'model.embed_tokens.weight'", "[100, 64]", "[96, 64]"});
  model = golden_model("gpt2");
  std::swap(tensor(model, "transformer.h.1.mlp.c_fc.weight").shape[0],
            tensor(model, "transformer.h.1.mlp.c_fc.weight").shape[1]);
  refuse_hf(model, Errc::bad_format, {"tensor 'transformer.h.1.mlp.c_fc.weight'", "[64, 112]", "[112, 64]"});
}

TEST_F(Tensors, WrongTypes) {
  auto parts = gguf_parts(golden_model("llama"));
  auto& norm = parts.tensor("blk.0.attn_norm.weight");
  norm.type = TensorType::q8_0;
  norm.data = formats::quantize_row(norm.type, std::vector<float>(64, 1.0f));
  refuse_gguf(parts, Errc::unsupported, {"tensor 'blk.0.attn_norm.weight'", "Q8_0"});
  write_safetensors(golden_model("llama"), folder_ / "hf");
  std::string bytes;
  {
    std::ifstream in(folder_ / "hf" / "model.safetensors", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  bytes.replace(bytes.find("\"F32\""), 5, "\"I32\"");
  write_text(folder_ / "hf" / "model.safetensors", bytes);
  expect_refused([&] { open_model(folder_ / "hf"); }, Errc::unsupported, {"dtype I32", "F32, F16 or BF16"});
}

TEST_F(Tensors, PackedExpertsAreNamed) {
  auto model = without("gpt_oss", "model.layers.0.mlp.experts.gate_up_proj");
  model.tensors.push_back({"model.layers.0.mlp.experts.gate_up_proj_blocks", {4}, "vector", {1, 2, 3, 4}});
  write_safetensors(model, folder_ / "hf");
  std::ifstream in(folder_ / "hf" / "model.safetensors", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  const auto at = bytes.find("_blocks");
  bytes.replace(bytes.find("\"F32\",\"shape\":[4]", at), 17, "\"U8\",\"shape\":[16]");
  write_text(folder_ / "hf" / "model.safetensors", bytes);
  expect_refused([&] { open_model(folder_ / "hf"); }, Errc::unsupported, {"gate_up_proj_blocks", "MXFP4"});
}

TEST_F(Tensors, NanAndInfinityInVectors) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto model = golden_model("llama");
    auto& values = tensor(model, "model.layers.2.input_layernorm.weight").values;
    values[3] = values[60] = bad;
    refuse_hf(model, Errc::bad_format, {"tensor 'model.layers.2.input_layernorm.weight'", "2 of 64 values"});
    refuse_gguf(gguf_parts(model), Errc::bad_format, {"tensor 'blk.2.attn_norm.weight'", "2 of 64 values"});
    OpenModelOptions options;
    options.allow_nonfinite = true;
    testing::internal::CaptureStderr();
    EXPECT_NO_THROW(open_model(folder_ / "m.gguf", options));
    EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("2 of 64 values"));
  }
}

// Scales of quantised blocks are looked at when they are used: the run names the layer, nothing crashes.
TEST_F(Tensors, QuantisedScalesThatAreNotNumbersAreKept) {
  auto parts = gguf_parts(golden_model("llama"), TensorType::q8_0);
  auto& data = parts.tensor("blk.1.ffn_up.weight").data;
  const std::uint16_t infinity = 0x7C00, nan = 0x7E00, zero = 0;
  std::memcpy(data.data(), &infinity, 2);
  std::memcpy(data.data() + 34, &nan, 2);
  std::memcpy(data.data() + 68, &zero, 2);
  parts.writer().write(folder_ / "m.gguf", true);
  const auto model = open_model(folder_ / "m.gguf");
  const auto* tensor = model.weights.find("blk.1.ffn_up.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(std::memcmp(tensor->data, data.data(), data.size()), 0);
}

TEST_F(Tensors, ALongChatTemplateIsReadAndNeverRun) {
  auto parts = gguf_parts(golden_model("llama"));
  parts["tokenizer.chat_template"].value =
      "{% for i in range(1000000000) %}x{% endfor %}" + std::string(10u << 20, 'x');
  parts.writer().write(folder_ / "m.gguf", true);
  const auto model = open_model(folder_ / "m.gguf");
  EXPECT_GT(model.chat_template.size(), 10u << 20);
  expect_refused(
      [&] {
        render_chat(model.chat_template, {{"user", "hello"}}, true, "");
      },
      Errc::unsupported, {"template"});
}

TEST_F(Tensors, UnknownOnesAreReportedOnce) {
  auto model = golden_model("llama");
  model.tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {8}, "vector", std::vector<float>(8)});
  model.tensors.push_back({"model.layers.0.mystery.weight", {8}, "vector", std::vector<float>(8)});
  write_safetensors(model, folder_ / "hf");
  testing::internal::CaptureStderr();
  EXPECT_EQ(open_model(folder_ / "hf").weights.find("mystery"), nullptr);
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, testing::HasSubstr("1 tensors have no place"));
  EXPECT_THAT(text, testing::HasSubstr("model.layers.0.mystery.weight"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("inv_freq")));
}

TEST_F(Tensors, RopeFactorsMustFit) {
  auto parts = gguf_parts(golden_model("llama_llama3"));
  parts.tensor("rope_freqs.weight").shape = {4};
  parts.tensor("rope_freqs.weight").data.resize(16);
  refuse_gguf(parts, Errc::bad_format, {"rope_freqs.weight", "expected 8 values", "found 4"});
  parts = gguf_parts(golden_model("phi3"));
  parts.erase_tensor("rope_factors_short.weight");
  refuse_gguf(parts, Errc::bad_format, {"rope_factors_short"});
}

// --- changes, hashes, registry
// ----------------------------------------------------------------------------------------

TEST(CheckUnchanged, SeesAnotherFile) {
  const TempFolder folder;
  write_gguf(golden_model("llama"), folder / "m.gguf");
  const auto model = open_model(folder / "m.gguf");
  EXPECT_NO_THROW(check_unchanged(model));
  fs::last_write_time(folder / "m.gguf", fs::last_write_time(folder / "m.gguf") + std::chrono::seconds(5));
  expect_refused([&] { check_unchanged(model); }, Errc::changed, {"m.gguf"});
}

TEST(FileHashes, AreCachedByStamp) {
  const TempFolder folder;
  const Environment cache("XDG_CACHE_HOME", (folder / "cache").string());
  write_gguf(golden_model("llama"), folder / "m.gguf");
  const auto first = open_model(folder / "m.gguf");
  const auto hash = sha256_of_file(folder / "m.gguf");
  EXPECT_EQ(file_hashes(first), std::vector<std::string>{hash});

  const auto cached = folder / "cache" / "headlight" / "file-hashes.json";
  std::string text;
  {
    std::ifstream in(cached);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto at = text.find(hash);
  ASSERT_NE(at, std::string::npos) << text;
  const std::string marker(64, 'a');
  write_text(cached, text.replace(at, 64, marker));
  EXPECT_EQ(file_hashes(first), std::vector<std::string>{marker});  // taken from the cache

  write_gguf(golden_model("qwen3"), folder / "m.gguf");
  EXPECT_EQ(file_hashes(open_model(folder / "m.gguf")), std::vector<std::string>{sha256_of_file(folder / "m.gguf")});
  write_text(cached, "broken");
  EXPECT_EQ(file_hashes(open_model(folder / "m.gguf")), std::vector<std::string>{sha256_of_file(folder / "m.gguf")});
}

TEST(FileHashes, WorkWithoutAPlaceForTheCache) {
  const TempFolder folder;
  const Environment cache("XDG_CACHE_HOME", "/proc/nowhere");
  write_gguf(golden_model("llama"), folder / "m.gguf");
  EXPECT_EQ(file_hashes(open_model(folder / "m.gguf")).front().size(), 64u);
}

TEST(Registry, ListsTheDefaultModel) {
  const auto entries = load_registry();
  ASSERT_FALSE(entries.empty());
  EXPECT_EQ(entries.front().name, "smollm2-135m");
  EXPECT_EQ(entries.front().bytes, 98'362'432u);
  EXPECT_EQ(entries.front().sha256, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
  for (const auto& entry : entries) {
    EXPECT_TRUE(entry.sha256.empty() || entry.sha256.size() == 64) << entry.name;
    EXPECT_GT(entry.bytes, 0u) << entry.name;
  }
}

TEST(Registry, ResolvesPathsBeforeNames) {
  const TempFolder folder;
  const Environment store("HEADLIGHT_MODELS", folder.path().string());
  write_text(folder / "here.gguf", "x");
  EXPECT_EQ(resolve_model((folder / "here.gguf").string()), folder / "here.gguf");
  expect_refused([] { resolve_model("smollm2-135m"); }, Errc::not_found,
                 {"smollm2-135m", "scripts/fetch-model smollm2-135m"});
  write_text(folder / "SmolLM2-135M-Instruct.Q4_1.gguf", "x");
  EXPECT_EQ(resolve_model("smollm2-135m"), folder / "SmolLM2-135M-Instruct.Q4_1.gguf");
  expect_refused([] { resolve_model("smollm3"); }, Errc::not_found, {"smollm3", "Known models: smollm2-135m"});
  expect_refused([] { resolve_model(""); }, Errc::invalid_argument);
}

TEST(Registry, BadFiles) {
  const TempFolder folder;
  const auto refuse = [&](const std::string& text, Errc code, std::initializer_list<std::string_view> mentions) {
    write_text(folder / "registry.json", text);
    const auto sentence = expect_refused([&] { load_registry(folder / "registry.json"); }, code, mentions);
    EXPECT_NE(sentence.find("registry.json"), std::string::npos);
  };
  refuse("{}", Errc::bad_format, {"schema"});
  refuse(R"({"schema": "headlight.registry/2", "models": []})", Errc::bad_version, {"headlight.registry/2"});
  refuse(R"({"schema": "headlight.registry/1"})", Errc::bad_format, {"models"});
  refuse(R"({"schema": "headlight.registry/1", "models": [{}]})", Errc::bad_format, {"models.0.name"});
  for (const char* file : {"../x", "/etc/passwd", ""})
    refuse(
        R"({"schema": "headlight.registry/1", "models": [{"name": "a", "title": "t", "architecture": "llama", "bytes": 1,
             "licence": "l", "file": ")" +
            std::string(file) + "\"}]}",
        Errc::bad_format, {"models.0.file"});
}

TEST(Registry, DataFolderAndStoreFollowTheEnvironment) {
  {
    const Environment data("HEADLIGHT_DATA", "/some/where");
    EXPECT_EQ(data_folder(), "/some/where");
    const Environment store("HEADLIGHT_MODELS", "");
    const Environment xdg("XDG_DATA_HOME", "/xdg");
    EXPECT_EQ(model_store(), "/xdg/headlight/models");
  }
  EXPECT_TRUE(fs::exists(data_folder() / "registry.json"));
}

}  // namespace
}  // namespace headlight::formats
