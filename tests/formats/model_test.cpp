// Whole models, made from nothing, opened from both formats.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/formats/gguf.h"
#include "core/formats/model_file.h"
#include "kernels/dequantize.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::formats {
namespace {

using testing_support::golden_model;
using testing_support::golden_model_names;
using testing_support::SyntheticModel;
using testing_support::TempFolder;

const testing_support::SyntheticTensor& tensor_of(const SyntheticModel& model, const std::string& name) {
  for (const auto& tensor : model.tensors)
    if (tensor.name == name) return tensor;
  throw std::invalid_argument(name);
}

std::vector<float> values_of(const WeightTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.rows * tensor.cols));
  for (std::int64_t r = 0; r < tensor.rows; ++r)
    kernels::dequantize_row(
        tensor.type, tensor.slice(r, 1).data,
        std::span(values).subspan(static_cast<std::size_t>(r * tensor.cols), static_cast<std::size_t>(tensor.cols)));
  return values;
}

void expect_equal_weights(const ModelFile& a, const ModelFile& b) {
  ASSERT_EQ(a.weights.all().size(), b.weights.all().size());
  for (const auto& [name, tensor] : a.weights.all()) {
    const auto* other = b.weights.find(name);
    ASSERT_NE(other, nullptr) << name;
    ASSERT_EQ(tensor.rows, other->rows) << name;
    ASSERT_EQ(tensor.cols, other->cols) << name;
    const auto x = values_of(tensor), y = values_of(*other);
    ASSERT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)), 0) << name;
  }
}

void expect_equal_rope(const RopeSpec& a, const RopeSpec& b) {
  EXPECT_FLOAT_EQ(static_cast<float>(a.theta), static_cast<float>(b.theta));
  // Converters bake llama3 scaling into divisors.
  if (a.scaling.kind == RopeScaling::Kind::llama3 && b.scaling.kind == RopeScaling::Kind::factors) return;
  EXPECT_EQ(a.scaling.kind, b.scaling.kind);
  EXPECT_FLOAT_EQ(static_cast<float>(a.scaling.factor), static_cast<float>(b.scaling.factor));
  EXPECT_EQ(a.scaling.truncate, b.scaling.truncate);
  EXPECT_EQ(a.scaling.low_freq_factor, b.scaling.low_freq_factor);
  EXPECT_EQ(a.scaling.high_freq_factor, b.scaling.high_freq_factor);
  EXPECT_EQ(a.scaling.long_factor, b.scaling.long_factor);
  if (a.scaling.kind == RopeScaling::Kind::yarn || a.scaling.kind == RopeScaling::Kind::longrope) {
    EXPECT_EQ(a.scaling.original_context, b.scaling.original_context);
    EXPECT_FLOAT_EQ(static_cast<float>(a.scaling.beta_slow), static_cast<float>(b.scaling.beta_slow));
  }
}

void expect_equal_specs(const ModelSpec& a, const ModelSpec& b) {
  EXPECT_EQ(a.num_layers, b.num_layers);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.num_heads, b.num_heads);
  EXPECT_EQ(a.num_kv_heads, b.num_kv_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.rotary_dim, b.rotary_dim);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.context_length, b.context_length);
  EXPECT_EQ(a.num_parameters, b.num_parameters);
  EXPECT_EQ(a.norm, b.norm);
  EXPECT_EQ(a.activation, b.activation);
  EXPECT_EQ(a.block, b.block);
  EXPECT_EQ(a.qk_norm, b.qk_norm);
  EXPECT_EQ(a.gated_ffn, b.gated_ffn);
  EXPECT_EQ(a.learned_sinks, b.learned_sinks);
  EXPECT_EQ(a.sliding_window, b.sliding_window);
  EXPECT_EQ(a.is_sliding, b.is_sliding);
  EXPECT_EQ(a.tied_embeddings, b.tied_embeddings);
  EXPECT_EQ(a.moe.num_experts, b.moe.num_experts);
  EXPECT_EQ(a.moe.experts_per_token, b.moe.experts_per_token);
  EXPECT_FLOAT_EQ(static_cast<float>(a.norm_eps), static_cast<float>(b.norm_eps));
  EXPECT_FLOAT_EQ(static_cast<float>(a.attention_scale), static_cast<float>(b.attention_scale));
  EXPECT_EQ(a.attention_soft_cap, b.attention_soft_cap);
  EXPECT_EQ(a.logit_soft_cap, b.logit_soft_cap);
  EXPECT_EQ(a.embedding_scale, b.embedding_scale);
  expect_equal_rope(a.rope, b.rope);
  expect_equal_rope(a.rope_sliding, b.rope_sliding);
}

class EveryArchitecture : public testing::TestWithParam<std::string> {};

TEST_P(EveryArchitecture, SafetensorsAndGgufGiveTheSameModel) {
  const TempFolder folder;
  const auto model = golden_model(GetParam());
  write_safetensors(model, folder / "hf");
  write_gguf(model, folder / "m.gguf");
  OpenModelOptions options;
  if (GetParam() == "mistral") options.sliding_window = 6;  // lost in conversion, as in reality
  const auto hf = open_model(folder / "hf"), gguf = open_model(folder / "m.gguf", options);
  EXPECT_EQ(hf.spec.file_format, "safetensors");
  EXPECT_EQ(gguf.spec.file_format, "gguf");
  expect_equal_specs(hf.spec, gguf.spec);
  expect_equal_weights(hf, gguf);
}

TEST_P(EveryArchitecture, HalfPrecisionInBothFormats) {
  const TempFolder folder;
  const auto model = golden_model(GetParam());
  for (const auto type : {TensorType::bf16, TensorType::f16}) {
    SCOPED_TRACE(info(type).name);
    auto vectors_as_stored = model;  // safetensors keep vectors in the file's type too
    for (auto& tensor : vectors_as_stored.tensors) {
      const bool is_vector = tensor.shape.size() == 1 || tensor.name.ends_with("_bias");
      for (float& v : tensor.values) v = is_vector ? std::round(v * 16) / 16 : v;  // exact in both types
    }
    write_safetensors(vectors_as_stored, folder / "hf", type);
    write_gguf(vectors_as_stored, folder / "m.gguf", type);
    expect_equal_weights(open_model(folder / "hf"), open_model(folder / "m.gguf"));
  }
}

TEST_P(EveryArchitecture, OldAndNewConfigurationMeanTheSame) {
  if (GetParam() == "gpt2") GTEST_SKIP() << "gpt2 has one spelling only";
  const TempFolder folder;
  write_safetensors(golden_model(GetParam()), folder / "new");
  write_safetensors(golden_model(GetParam(), true), folder / "old");
  expect_equal_specs(open_model(folder / "new").spec, open_model(folder / "old").spec);
}

TEST_P(EveryArchitecture, HeaderAloneGivesTheSameSpecification) {
  const TempFolder folder;
  const auto model = golden_model(GetParam());
  write_gguf(model, folder / "m.gguf");
  OpenModelOptions options;
  const auto full = open_model(folder / "m.gguf", options);
  options.load_weights = false;
  const auto header = open_model(folder / "m.gguf", options);
  expect_equal_specs(full.spec, header.spec);
  EXPECT_TRUE(header.weights.all().empty());
  options.load_weights = true;
  options.use_mmap = false;
  expect_equal_weights(full, open_model(folder / "m.gguf", options));
}

INSTANTIATE_TEST_SUITE_P(Golden, EveryArchitecture, testing::ValuesIn(golden_model_names()),
                         [](const auto& case_info) { return case_info.param; });

TEST(Conventions, ValuesAreThoseOfTheHuggingFaceModel) {
  const TempFolder folder;
  const auto model = golden_model("llama");
  write_gguf(model, folder / "m.gguf");
  const auto opened = open_model(folder / "m.gguf");
  EXPECT_EQ(values_of(opened.weights.get("blk.2.attn_q.weight", 64, 64)),
            tensor_of(model, "model.layers.2.self_attn.q_proj.weight").values);
}

TEST(Conventions, GemmaNormsIncludeOne) {
  const TempFolder folder;
  const auto model = golden_model("gemma3");
  write_safetensors(model, folder.path());
  const auto opened = open_model(folder.path());
  EXPECT_EQ(opened.weights.vector("blk.1.attn_q_norm.weight", 16)[5],
            tensor_of(model, "model.layers.1.self_attn.q_norm.weight").values[5] + 1.0f);
}

TEST(Conventions, Gpt2MatricesAreOutByIn) {
  const TempFolder folder;
  const auto model = golden_model("gpt2");
  write_safetensors(model, folder.path());
  const auto k = values_of(open_model(folder.path()).weights.get("blk.0.attn_k.weight", 64, 64));
  const auto& stored = tensor_of(model, "transformer.h.0.attn.c_attn.weight");
  EXPECT_EQ(k[3 * 64 + 7], stored.values[7 * 192 + 64 + 3]);  // row 3 of k = column 64 + 3, input 7
}

TEST(Conventions, ExpertsAreStackedAndSplit) {
  const TempFolder folder;
  const auto model = golden_model("gpt_oss");
  write_safetensors(model, folder.path());
  const auto opened = open_model(folder.path());
  const auto up = values_of(opened.weights.get("blk.1.ffn_up_exps.weight", 4 * 112, 64));
  const auto up_bias = opened.weights.vector("blk.1.ffn_up_exps.bias", 4 * 112);
  const auto& both = tensor_of(model, "model.layers.1.mlp.experts.gate_up_proj");
  const auto& both_bias = tensor_of(model, "model.layers.1.mlp.experts.gate_up_proj_bias");
  // Expert 2, unit 5, input 9: column 2 * 5 + 1 of row 9.
  EXPECT_EQ(up[(2 * 112 + 5) * 64 + 9], both.values[(2 * 64 + 9) * 224 + 11]);
  EXPECT_EQ(up_bias[2 * 112 + 5], both_bias.values[2 * 224 + 11]);
}

TEST(Conventions, MatricesAreUsedInPlace) {
  const TempFolder folder;
  write_gguf(golden_model("llama"), folder / "m.gguf");
  const auto header = GgufFile::open(folder / "m.gguf");
  const auto model = open_model(folder / "m.gguf");
  const auto* origin = header.find_tensor("token_embd.weight");
  const std::byte* start = model.weights.get("token_embd.weight").data - origin->offset;
  for (const auto& tensor : header.tensors()) {
    const bool moved =
        tensor.name.find("attn_q.") != std::string::npos || tensor.name.find("attn_k.") != std::string::npos;
    EXPECT_EQ(model.weights.get(tensor.name).data == start + tensor.offset, !moved) << tensor.name;
  }
}

class QuantisedType : public testing::TestWithParam<TensorType> {};

TEST_P(QuantisedType, LoadsAndStaysCloseToTheOriginal) {
  const TempFolder folder;
  const auto model = testing_support::wide_llama();
  write_gguf(model, folder / "m.gguf", GetParam());
  write_safetensors(model, folder / "hf");
  const auto quantised = open_model(folder / "m.gguf"), original = open_model(folder / "hf");
  EXPECT_EQ(quantised.spec.quantization, info(GetParam()).name);
  const double bits = 8.0 * info(GetParam()).block_bytes / info(GetParam()).block_size;
  const double limit = 0.35 * std::pow(2.0, 2.2 - bits);  // about one step of the finest sub-block
  for (const auto& [name, tensor] : original.weights.all()) {
    const auto x = values_of(tensor), y = values_of(quantised.weights.get(name, tensor.rows, tensor.cols));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::fabs(static_cast<double>(x[i]) - y[i]));
    EXPECT_LT(worst, limit) << name;
    EXPECT_EQ(worst > 0, tensor.rows > 1) << name;  // vectors stay as they are
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantisedType,
                         testing::Values(TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,
                                         TensorType::q8_0, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k),
                         [](const auto& one) { return std::string(headlight::info(one.param).name); });

// --- real files
// -------------------------------------------------------------------------------------------------------

std::filesystem::path real_model(const char* name) {
  const char* store = std::getenv("HEADLIGHT_MODELS");
  return std::filesystem::path(store ? store : "") / name;
}

TEST(RealModels, SmolLM2) {
  const auto path = real_model("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: run scripts/fetch-model";
  const auto model = open_model(path);
  const auto& spec = model.spec;
  EXPECT_EQ(spec.architecture, "llama");
  EXPECT_EQ(spec.quantization, "Q4_1");
  EXPECT_THAT((std::vector<std::int64_t>{spec.num_layers, spec.hidden_size, spec.intermediate_size, spec.num_heads,
                                         spec.num_kv_heads, spec.head_dim, spec.context_length, spec.vocab_size}),
              testing::ElementsAre(30, 576, 1536, 9, 3, 64, 8192, 49152));
  EXPECT_EQ(spec.rope.theta, 1e5);
  EXPECT_FLOAT_EQ(static_cast<float>(spec.norm_eps), 1e-5f);
  EXPECT_TRUE(spec.tied_embeddings);
  EXPECT_EQ(spec.num_parameters, 134'515'008);
  EXPECT_EQ(spec.sliding_window, 0);
  EXPECT_EQ(model.weights.get("token_embd.weight").type, TensorType::q8_0);
  EXPECT_FALSE(model.chat_template.empty());
  EXPECT_NO_THROW(check_unchanged(model));
}

TEST(RealModels, Gemma3) {
  const auto path = real_model("gemma-3-270m-q4_k_m.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: run scripts/fetch-model gemma3-270m";
  const auto model = open_model(path);
  const auto& spec = model.spec;
  EXPECT_EQ(spec.architecture, "gemma3");
  EXPECT_EQ(spec.head_dim, 256);
  EXPECT_EQ(spec.num_parameters, 268'098'176);
  EXPECT_EQ(spec.sliding_window, 512);
  EXPECT_EQ(spec.rope.theta, 1e6);
  EXPECT_EQ(spec.rope_sliding.theta, 1e4);
  for (int l = 0; l < 18; ++l) EXPECT_EQ(spec.is_sliding[l] == 0, l == 5 || l == 11 || l == 17) << l;
}

}  // namespace
}  // namespace headlight::formats
