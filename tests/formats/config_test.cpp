// config.json and GGUF metadata that contradict themselves or ask for what is not there.
#include "core/formats/config.h"

#include <cmath>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/formats/model_file.h"
#include "tests/support/refusal.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::formats {
namespace {

using namespace testing_support;

ModelSpec checked(const Json& config) {
  ModelSpec spec = spec_from_config(config);
  validate(spec);
  return spec;
}

/// The configuration of a golden model with one key changed.
Json changed(const std::string& name, const std::string& key, const Json& value, bool old_config = false) {
  Json config = golden_model(name, old_config).config;
  config[key] = value;
  return config;
}

void refuse(const Json& config, Errc code, std::initializer_list<std::string_view> mentions) {
  SCOPED_TRACE(config.dump());
  expect_refused([&] { checked(config); }, code, mentions);
}

TEST(Config, EveryRequiredKey) {
  for (const char* key :
       {"model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    Json config = golden_model("llama").config;
    config.erase(key);
    refuse(config, Errc::bad_format, {key, "missing"});
    for (const Json& wrong : {Json("64"), Json::array({64}), Json(true), Json(Json::object())}) {
      if (std::string(key) == "model_type" && wrong.is_string()) continue;
      config[key] = wrong;
      refuse(config, Errc::bad_format, {key, "expected"});
    }
  }
  for (const char* key : {"n_embd", "n_layer", "n_head", "n_positions"}) {
    Json config = golden_model("gpt2").config;
    config.erase(key);
    refuse(config, Errc::bad_format, {key, "missing"});
  }
}

TEST(Config, SizesOutOfRange) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "vocab_size", "head_dim", "max_position_embeddings"})
    for (const Json& value : {Json(0), Json(-1), Json(1ll << 31), Json(1ull << 63), Json(1e308), Json(64.5)})
      refuse(changed("llama", key, value), Errc::bad_format, {key});
  refuse(changed("llama", "num_hidden_layers", 1'000'000), Errc::bad_format, {"num_hidden_layers", "1000000"});
  refuse(changed("llama", "num_key_value_heads", 3), Errc::bad_format, {"key-value heads", "4", "3"});
  refuse(changed("llama", "num_key_value_heads", 8), Errc::bad_format, {"key-value heads", "8"});
  refuse(changed("llama", "head_dim", 15), Errc::bad_format, {"head_dim", "15"});
  Json no_head_dim = changed("llama", "num_attention_heads", 3);
  no_head_dim.erase("head_dim");
  refuse(no_head_dim, Errc::bad_format, {"num_attention_heads", "64", "3"});
  refuse(changed("gpt2", "n_head", 5), Errc::bad_format, {"n_head", "64", "5"});
}

TEST(Config, NumbersOutOfRange) {
  for (const Json& value : {Json(0), Json(-1e-5), Json(1e308), Json("1e-5")})
    refuse(changed("llama", "rms_norm_eps", value), Errc::bad_format, {});
  for (const Json& value : {Json(0), Json(-10000.0), Json(1e308)}) {
    refuse(changed("llama", "rope_parameters", {{"rope_type", "default"}, {"rope_theta", value}}), Errc::bad_format,
           {"rope_theta"});
    refuse(changed("llama", "rope_theta", value, true), Errc::bad_format, {"rope_theta"});
  }
  for (const Json& value : {Json(0), Json(-1), Json("wide"), Json(1ull << 40)})
    refuse(changed("mistral", "sliding_window", value), Errc::bad_format, {"sliding_window"});
  for (const Json& value : {Json(0.0), Json(-0.5), Json(1.5)})
    refuse(changed("phi3", "rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", value}}),
           Errc::bad_format, {"partial_rotary_factor"});
  refuse(changed("gemma2", "query_pre_attn_scalar", 0), Errc::bad_format, {"query_pre_attn_scalar"});
  refuse(changed("gemma2", "attn_logit_softcapping", -50), Errc::bad_format, {"attention logit soft cap"});
  refuse(changed("gpt_oss", "num_experts_per_tok", 5), Errc::bad_format, {"num_experts_per_tok", "5"});
}

TEST(Config, RotaryPartMustBeEven) {
  Json config = golden_model("phi3_short").config;
  config["rope_parameters"]["partial_rotary_factor"] = 0.7;  // 11 of 16 dimensions
  refuse(config, Errc::bad_format, {"rotary dimensions", "11"});
}

TEST(Config, RopeScaling) {
  const auto scaled = [](const Json& scaling) { return changed("llama", "rope_scaling", scaling, true); };
  refuse(scaled({{"type", "spiral"}, {"factor", 2.0}}), Errc::unsupported, {"rope_scaling.rope_type", "spiral"});
  refuse(scaled({{"rope_type", 3}}), Errc::bad_format, {"rope_scaling.rope_type", "expected a string"});
  refuse(scaled({{"rope_type", "linear"}}), Errc::bad_format, {"rope_scaling.factor", "missing"});
  refuse(scaled("linear"), Errc::bad_format, {"rope_scaling", "expected an object"});
  for (const Json& value : {Json(0), Json(-1), Json(1e308), Json("2")})
    refuse(scaled({{"rope_type", "linear"}, {"factor", value}}), Errc::bad_format, {"rope_scaling.factor"});
  refuse(scaled({{"rope_type", "llama3"}, {"factor", 8.0}}), Errc::bad_format, {"low_freq_factor"});
  refuse(scaled({{"rope_type", "llama3"},
                 {"factor", 8.0},
                 {"low_freq_factor", 4.0},
                 {"high_freq_factor", 1.0},
                 {"original_max_position_embeddings", 16}}),
         Errc::bad_format, {"high_freq_factor"});
  refuse(scaled({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 0}}), Errc::bad_format,
         {"original_max_position_embeddings"});
  refuse(scaled({{"rope_type", "longrope"}, {"short_factor", {1, 2}}}), Errc::bad_format, {"long_factor"});
  refuse(scaled({{"rope_type", "longrope"}, {"short_factor", {1, 2}}, {"long_factor", {1, 2}}}), Errc::bad_format,
         {"short_factor", "expected 8", "found 2"});
  EXPECT_EQ(checked(scaled({{"type", "dynamic"}, {"factor", 2.0}})).rope.scaling.kind, RopeScaling::Kind::dynamic);
}

TEST(Config, LayerKinds) {
  refuse(changed("gemma3", "layer_types", {"full_attention"}), Errc::bad_format, {"layer_types", "4", "found 1"});
  refuse(changed("gemma3", "layer_types", "full_attention"), Errc::bad_format, {"layer_types", "array"});
  refuse(changed("gemma3", "layer_types", {"full_attention", "full_attention", "full_attention", "chunked_attention"}),
         Errc::unsupported, {"layer_types", "chunked_attention"});
  refuse(changed("gemma3", "layer_types", {"full_attention", "full_attention", "full_attention", 1}), Errc::unsupported,
         {"layer_types"});
  Json config = golden_model("qwen2_window").config;
  config["use_sliding_window"] = false;
  refuse(config, Errc::bad_format, {"layer_types", "sliding_window"});
}

TEST(Config, WindowsByArchitecture) {
  EXPECT_EQ(checked(changed("mistral", "sliding_window", nullptr)).sliding_window, 0);
  Json absent = golden_model("mistral").config;
  absent.erase("sliding_window");
  EXPECT_EQ(checked(absent).sliding_window, 4096);  // the default of that configuration class
  EXPECT_EQ(checked(changed("llama", "sliding_window", 5)).sliding_window, 0);
  Json qwen = golden_model("qwen2_window", true).config;
  EXPECT_THAT(checked(qwen).is_sliding, testing::ElementsAre(0, 0, 1, 1));
  qwen["use_sliding_window"] = false;
  EXPECT_EQ(checked(qwen).sliding_window, 0);
}

TEST(Config, WhatIsNotSupportedIsNamed) {
  for (const char* type : {"bert", "mixtral", "qwen2_moe", "gemma3n", "deepseek_v3", "mamba", "gpt-oss", ""})
    refuse(changed("llama", "model_type", type), Errc::unsupported, {"model_type", type, "supported: llama"});
  refuse(changed("gemma3", "model_type", "gemma3"), Errc::unsupported, {"model_type", "vision"});
  refuse(changed("llama", "architectures", {"LlamaForSequenceClassification"}), Errc::unsupported,
         {"architectures", "LlamaForSequenceClassification"});
  refuse(changed("llama", "architectures", "LlamaForCausalLM"), Errc::bad_format, {"architectures"});
  EXPECT_NO_THROW(checked(changed("llama", "architectures", Json::array())));
  refuse(changed("llama", "hidden_act", "relu2"), Errc::unsupported, {"hidden_act", "relu2"});
  refuse(changed("gpt2", "activation_function", "relu"), Errc::unsupported, {"activation_function", "relu"});
  EXPECT_NO_THROW(checked(changed("gemma", "hidden_activation", "gelu")));  // tanh is meant
  refuse(changed("llama", "quantization_config", {{"quant_method", "mxfp4"}}), Errc::unsupported,
         {"quantization_config", "mxfp4"});
  refuse(changed("gemma2", "use_bidirectional_attention", true), Errc::unsupported, {"use_bidirectional_attention"});
  refuse(changed("llama", "alibi", true), Errc::unsupported, {"alibi"});
  refuse(changed("llama", "num_local_experts", 8), Errc::unsupported, {"num_local_experts", "8"});
  refuse(changed("olmo2", "sliding_window", 4096), Errc::unsupported, {"sliding_window", "olmo3"});
  refuse(changed("gpt_oss", "swiglu_limit", 5.0), Errc::unsupported, {"swiglu_limit", "5"});
}

class ConfigFile : public testing::Test {
 protected:
  void refuse_text(const std::string& text, std::initializer_list<std::string_view> mentions) {
    write_safetensors(golden_model("llama"), folder_.path());
    std::ofstream(folder_ / "config.json", std::ios::binary) << text;
    expect_refused([&] { open_model(folder_.path()); }, Errc::bad_format, mentions);
  }
  TempFolder folder_;
};

// The weights say their own type.
TEST_F(ConfigFile, UnknownDtypeDoesNotMatter) {
  auto model = golden_model("llama");
  model.config["torch_dtype"] = "float99";
  write_safetensors(model, folder_.path());
  EXPECT_EQ(open_model(folder_.path()).spec.quantization, "F32");
}

TEST_F(ConfigFile, NotTheRightJson) {
  refuse_text("", {"config.json"});
  refuse_text("[]", {"config.json", "expected an object"});
  refuse_text("3", {"config.json", "expected an object"});
  refuse_text("{\"model_type\": \"llama\",}", {"config.json", "JSON"});
  refuse_text("// comment\n{}", {"config.json", "JSON"});
  refuse_text("\xEF\xBB\xBF{}", {"config.json", "byte-order mark"});
  refuse_text(std::string("{\0\"\0a\0\"\0:\0001\0}\0", 14), {"config.json"});
  refuse_text("{\"rms_norm_eps\": NaN}", {"config.json", "JSON"});
  refuse_text(R"({"model_type": "llama", "model_type": "gpt2"})", {"config.json", "model_type", "duplicate"});
  refuse_text(R"({"hidden_size": 123456789012345678901234567890})", {"config.json", "hidden_size", "64 bits"});
  refuse_text(std::string(100'000, '['), {"config.json", "nested deeper"});
  refuse_text("{\"a\": \"" + std::string(5u << 20, 'x') + "\"}", {"config.json", "limit"});
}

// --- GGUF metadata
// ----------------------------------------------------------------------------------------------------

class Metadata : public testing::Test {
 protected:
  void refuse(const GgufParts& parts, Errc code, std::initializer_list<std::string_view> mentions) {
    parts.writer().write(folder_ / "m.gguf", true);
    const auto text = expect_refused([&] { open_model(folder_ / "m.gguf"); }, code, mentions);
    EXPECT_NE(text.find("m.gguf"), std::string::npos) << text;
  }
  template <class T>
  void refuse_key(const std::string& key, T value, Errc code, std::initializer_list<std::string_view> mentions,
                  const std::string& model = "llama") {
    SCOPED_TRACE(key);
    auto parts = gguf_parts(golden_model(model));
    parts[key] = {value};
    refuse(parts, code, mentions);
  }
  static constexpr auto kBad = Errc::bad_format;
  TempFolder folder_;
};

TEST_F(Metadata, EveryRequiredKey) {
  for (const char* key :
       {"general.architecture", "llama.block_count", "llama.context_length", "llama.embedding_length",
        "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"}) {
    auto parts = gguf_parts(golden_model("llama"));
    parts.erase(key);
    refuse(parts, kBad, {key, "missing"});
    if (std::string(key) == "general.architecture")
      parts[key].value = std::int64_t{1};
    else
      parts[key].value = std::string("four");
    refuse(parts, kBad, {key, "expected"});
  }
  auto parts = gguf_parts(golden_model("gemma3"));
  parts.erase("gemma3.attention.sliding_window");
  refuse(parts, kBad, {"gemma3.attention.sliding_window", "missing"});
}

TEST_F(Metadata, Sizes) {
  for (const std::int64_t value : {0ll, 1025ll, 1'000'000'000ll})
    refuse_key("llama.block_count", value, kBad, {"llama.block_count", std::to_string(value)});
  for (const std::int64_t value : {0ll, 1025ll}) {
    refuse_key("llama.attention.head_count", value, kBad, {"llama.attention.head_count", std::to_string(value)});
    refuse_key("llama.attention.head_count_kv", value, kBad, {"head_count_kv", std::to_string(value)});
  }
  refuse_key("llama.attention.head_count_kv", std::int64_t{3}, kBad, {"key-value heads", "3"});
  refuse_key("llama.attention.head_count_kv", std::int64_t{8}, kBad, {"key-value heads", "8"});
  refuse_key("llama.context_length", std::int64_t{1} << 32, kBad, {"llama.context_length", "4294967296"});
  refuse_key("llama.context_length", std::int64_t{0}, kBad, {"context length", "0"});
  refuse_key("llama.embedding_length", std::int64_t{128}, kBad, {"token_embd.weight", "[96, 128]", "[96, 64]"});
  refuse_key("llama.rope.dimension_count", std::int64_t{15}, kBad, {"rotary dimensions", "15"});
  refuse_key("llama.rope.dimension_count", std::int64_t{18}, kBad, {"rotary dimensions", "18"});
  refuse_key("llama.attention.key_length", std::int64_t{17}, Errc::unsupported, {"value_length", "17"});
  refuse_key("llama.attention.value_length", std::int64_t{8}, Errc::unsupported, {"value_length", "8"});
  refuse_key("llama.attention.head_count", std::int64_t{-4}, kBad, {"head_count", "-4"});
  refuse_key("llama.block_count", std::uint64_t{1} << 63, kBad, {"block_count", "9223372036854775808"});
}

TEST_F(Metadata, PerLayerArrays) {
  auto parts = gguf_parts(golden_model("llama"));
  parts["llama.attention.head_count_kv"].value = GgufValue::Integers{2, 2, 2, 2};
  parts.writer().write(folder_ / "m.gguf", true);
  EXPECT_EQ(open_model(folder_ / "m.gguf").spec.num_kv_heads, 2);
  refuse_key("llama.attention.head_count_kv", GgufValue::Integers{2, 2, 4, 2}, Errc::unsupported,
             {"head_count_kv", "differs between layers"});
  refuse_key("llama.attention.head_count_kv", GgufValue::Integers{2, 2}, kBad, {"head_count_kv", "4", "found 2"});
  refuse_key("gemma3.attention.sliding_window_pattern", std::vector<bool>{true}, kBad,
             {"sliding_window_pattern", "4", "found 1"}, "gemma3");
  refuse_key("gemma3.attention.sliding_window", std::int64_t{0}, kBad, {"sliding_window", "0"}, "gemma3");
}

TEST_F(Metadata, Numbers) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const double value : {0.0, -1e-5, kInf, -kInf, std::nan("")}) {
    refuse_key("llama.attention.layer_norm_rms_epsilon", value, kBad, {"eps"});
    refuse_key("llama.rope.freq_base", value, kBad, {});
  }
  refuse_key("llama.embedding_scale", 12.0, Errc::unsupported, {"llama.embedding_scale", "12"});
  refuse_key("llama.expert_count", std::int64_t{8}, Errc::unsupported, {"llama.expert_count", "8"});
  refuse_key("llama.attention.causal", false, Errc::unsupported, {"llama.attention.causal"});
  refuse_key("llama.attention.causal", std::int64_t{1}, kBad, {"expected a bool"});
  refuse_key("llama.rope.scaling.type", std::string("spiral"), Errc::unsupported, {"rope.scaling.type", "spiral"});
}

TEST_F(Metadata, OtherKindsOfFiles) {
  refuse_key("general.architecture", std::string("bert"), Errc::unsupported,
             {"architecture 'bert'", "supported: llama"});
  refuse_key("general.architecture", std::string("qwen2vl"), Errc::unsupported, {"'qwen2vl'"});
  refuse_key("general.architecture", std::string("clip"), Errc::unsupported, {"vision projector"});
  refuse_key("general.type", std::string("adapter"), Errc::unsupported, {"LoRA adapter"});
  refuse_key("general.type", std::string("mmproj"), Errc::unsupported, {"vision projector"});
  auto parts = gguf_parts(golden_model("llama"));
  parts.tensors.clear();
  refuse(parts, kBad, {"vocabulary but no weights"});
}

TEST_F(Metadata, TokenListAndEmbedding) {
  refuse_key("tokenizer.ggml.tokens", GgufValue::Strings(97, "t"), kBad, {"tokenizer.ggml.tokens", "97", "96"});
  auto padded = gguf_parts(golden_model("llama"));
  padded["tokenizer.ggml.tokens"].value = GgufValue::Strings(90, "t");  // a padded vocabulary is fine
  padded.writer().write(folder_ / "m.gguf", true);
  EXPECT_EQ(open_model(folder_ / "m.gguf").spec.vocab_size, 96);
}

}  // namespace
}  // namespace headlight::formats
