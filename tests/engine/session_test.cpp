#include <algorithm>
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/engine/engine.h"
#include "core/engine/reference_attention.h"
#include "tests/engine/golden_case.h"

namespace headlight::engine {
namespace {

using testing_support::Golden;
using testing_support::largest_difference;
using testing_support::load_golden;
using testing_support::open_golden_gguf;
using testing_support::open_golden_model;

std::vector<float> all_logits(Engine& engine, const std::vector<std::int32_t>& ids) {
  std::vector<float> logits(ids.size() * static_cast<std::size_t>(engine.spec().vocab_size));
  Session session(engine);
  session.forward(ids, logits);
  return logits;
}

template <class Action>
void expect_error(Errc code, const std::string& part, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
  }
}

// The llama case with one element of a matrix replaced.
formats::ModelFile poisoned(const std::string& tensor, float value) {
  return testing_support::with_value(open_golden_model("llama"), tensor, 67, value);
}

TEST(Session, RefusesIdsOutsideTheVocabularyAndEmptyInput) {
  Engine engine(open_golden_model("llama"), {});
  Session session(engine);
  const std::vector<std::int32_t> large = {3, 96}, negative = {-1};
  expect_error(Errc::invalid_argument, "token 1 has id 96, the vocabulary holds ids 0 to 95",
               [&] { session.forward(large, {}); });
  expect_error(Errc::invalid_argument, "id -1", [&] { session.forward(negative, {}); });
  expect_error(Errc::invalid_argument, "no token", [&] { session.forward({}, {}); });
  EXPECT_EQ(session.position(), 0);
}

TEST(Session, RefusesMoreTokensThanTheContext) {
  Engine engine(open_golden_model("llama"), {});  // context of 64
  Session session(engine);
  expect_error(Errc::prompt_too_long, "65 tokens do not fit the model's context of 64 tokens",
               [&] { session.forward(std::vector<std::int32_t>(65, 1), {}); });
  session.forward(std::vector<std::int32_t>(64, 1), {});
  expect_error(Errc::prompt_too_long, "65", [&] { session.forward(std::vector<std::int32_t>{1}, {}); });
  session.reset();
  session.forward(std::vector<std::int32_t>{1}, {});
  EXPECT_EQ(session.position(), 1);
}

TEST(Session, RefusesABufferOfTheWrongSize) {
  Engine engine(open_golden_model("llama"), {});
  Session session(engine);
  std::vector<float> logits(97);
  expect_error(Errc::invalid_argument, "logits", [&] { session.forward(std::vector<std::int32_t>{1, 2}, logits); });
}

TEST(Session, LastLogitsEqualTheLastRowOfAll) {
  const Golden golden = load_golden("qwen3");
  Engine engine(open_golden_model("qwen3"), {});
  const auto all = all_logits(engine, golden.ids);
  std::vector<float> last(static_cast<std::size_t>(engine.spec().vocab_size));
  Session session(engine);
  session.forward(golden.ids, last);
  EXPECT_LT(largest_difference(last.data(), all.data() + all.size() - last.size(), last.size()), 1e-4f);
}

TEST(Session, ChunksOfAPromptGiveTheWholePrompt) {
  const Golden golden = load_golden("gemma3");
  Engine engine(open_golden_model("gemma3"), {});
  const auto whole = all_logits(engine, golden.ids);
  const std::size_t vocab = static_cast<std::size_t>(engine.spec().vocab_size);
  Session session(engine);
  std::vector<float> logits(vocab);
  for (const std::size_t end : {5u, 6u, 19u, 24u}) {
    const std::size_t begin = static_cast<std::size_t>(session.position());
    session.forward(std::span(golden.ids).subspan(begin, end - begin), logits);
    EXPECT_LT(largest_difference(logits.data(), whole.data() + (end - 1) * vocab, vocab), 2e-3f) << end;
  }
}

TEST(Session, ThreadsDoNotChangeABit) {
  for (const char* name : {"llama", "gpt_oss", "gemma2"}) {
    const Golden golden = load_golden(name);
    EngineOptions one, two;
    one.threads = 1;
    two.threads = 2;
    Engine a(open_golden_model(name), one), b(open_golden_model(name), two);
    EXPECT_EQ(all_logits(a, golden.ids), all_logits(b, golden.ids)) << name;
  }
}

TEST(Session, LongropeReEvaluatesWhenItCrossesTheOriginalContext) {
  const Golden golden = load_golden("phi3");  // original context 16
  Engine engine(open_golden_model("phi3"), {});
  const auto whole = all_logits(engine, golden.ids);
  const std::size_t vocab = static_cast<std::size_t>(engine.spec().vocab_size), half = 12;
  Session session(engine);
  std::vector<float> logits(vocab * (golden.ids.size() - half));
  session.forward(std::span(golden.ids).first(half), {});
  session.forward(std::span(golden.ids).subspan(half), logits);
  EXPECT_EQ(session.position(), 24);
  EXPECT_LT(largest_difference(logits.data(), whole.data() + half * vocab, logits.size()), 1e-4f);
}

TEST(Session, DynamicScalingReEvaluatesAtEveryLength) {
  const Golden golden = load_golden("llama");
  formats::ModelFile model = open_golden_model("llama");
  model.spec.rope.scaling.kind = formats::RopeScaling::Kind::dynamic;
  model.spec.rope.scaling.factor = 2.0;
  model.spec.rope.scaling.original_context = 16;
  model.spec.rope_sliding = model.spec.rope;
  Engine engine(std::move(model), {});
  const auto whole = all_logits(engine, golden.ids);
  const std::size_t vocab = static_cast<std::size_t>(engine.spec().vocab_size);
  Session session(engine);
  std::vector<float> logits(vocab);
  session.forward(std::span(golden.ids).first(22), {});
  session.forward(std::span(golden.ids).subspan(22, 1), {});
  session.forward(std::span(golden.ids).subspan(23, 1), logits);
  EXPECT_LT(largest_difference(logits.data(), whole.data() + whole.size() - vocab, vocab), 1e-4f);
}

TEST(Session, NotANumberStopsAtTheLayerWhereItAppears) {
  const Golden golden = load_golden("llama");
  const auto run = [&](const std::string& tensor, float value) {
    Engine engine(poisoned(tensor, value), {});
    all_logits(engine, golden.ids);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  expect_error(Errc::failed, "NaN or Inf appeared in the residual stream after layer 2: 24 values, first at token 0",
               [&] { run("blk.2.ffn_down.weight", nan); });
  expect_error(Errc::failed, "the residual stream after layer 1", [&] { run("blk.1.attn_q.weight", nan); });
  expect_error(Errc::failed, "the residual stream after layer 0", [&] { run("blk.0.attn_v.weight", inf); });
  expect_error(Errc::failed, "the logits", [&] { run("output.weight", nan); });
}

TEST(Session, StopsBetweenLayers) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  Session session(engine);
  std::stop_source source;
  int layers = 0;
  const auto progress = [&](const Progress& at) {
    EXPECT_EQ(at.phase, "prefill");
    EXPECT_EQ(at.total, 4);
    layers = static_cast<int>(at.done);
    if (at.done == 2) source.request_stop();
  };
  expect_error(Errc::cancelled, "stopped", [&] { session.forward(golden.ids, {}, progress, source.get_token()); });
  EXPECT_EQ(layers, 2);
  EXPECT_EQ(session.position(), 0);
}

TEST(Generate, IsGreedyReproducibleAndIndependentOfThreads) {
  const std::vector<std::int32_t> prompt = {5, 17, 40, 2};
  EngineOptions one, two;
  one.threads = 1;
  two.threads = 2;
  Engine a(open_golden_model("llama"), one), b(open_golden_model("llama"), two);
  SamplingOptions sampling;
  sampling.temperature = 1.5f;
  sampling.seed = 42;
  const auto first = generate(a, prompt, 20, sampling, 3), second = generate(b, prompt, 20, sampling, 3);
  const auto other_record = generate(a, prompt, 20, sampling, 4);
  ASSERT_EQ(first.size(), 20u);
  int same = 0;
  for (std::size_t t = 0; t < first.size(); ++t) {
    EXPECT_EQ(first[t].id, second[t].id);
    EXPECT_EQ(first[t].logprob, second[t].logprob);
    same += first[t].id == other_record[t].id;
  }
  EXPECT_LT(same, 20);
  std::vector<std::int32_t> seen;
  const auto greedy = generate(a, prompt, 6, {}, 0, [&](const GeneratedToken& token) { seen.push_back(token.id); });
  std::vector<std::int32_t> text = prompt;
  for (const GeneratedToken& token : greedy) {
    const auto logits = all_logits(a, text);
    const auto begin = logits.end() - static_cast<std::ptrdiff_t>(a.spec().vocab_size);
    EXPECT_EQ(token.id, std::max_element(begin, logits.end()) - begin);
    text.push_back(token.id);
  }
  EXPECT_EQ(seen, std::vector<std::int32_t>(text.begin() + 4, text.end()));
}

TEST(Generate, EndsWhereTheContextEnds) {
  Engine engine(open_golden_model("llama"), {});
  EXPECT_EQ(generate(engine, std::vector<std::int32_t>(60, 7), 100, {}).size(), 5u);
  EXPECT_TRUE(generate(engine, std::vector<std::int32_t>(3, 7), 0, {}).empty());
  expect_error(Errc::prompt_too_long, "65", [&] { generate(engine, std::vector<std::int32_t>(65, 7), 1, {}); });
}

TEST(Reference, MatchesTheGoldenMaps) {
  for (const char* name : {"llama", "mistral", "gemma2", "gpt_oss"}) {
    const Golden golden = load_golden(name);
    Engine engine(open_golden_model(name), {});
    const std::size_t n = golden.ids.size();
    std::size_t rows = 0;
    double worst = 0.0;
    reference_forward(engine, golden.ids, {}, [&](const ReferenceRow& row) {
      ASSERT_EQ(row.attn_j.size(), static_cast<std::size_t>(row.query) + 1);
      const std::size_t map = static_cast<std::size_t>(row.layer * engine.spec().num_heads + row.head);
      const float* expected = golden.attn.data() + (map * n + static_cast<std::size_t>(row.query)) * n;
      for (std::size_t j = 0; j < row.attn_j.size(); ++j)
        worst = std::max(worst, std::abs(row.attn_j[j] - static_cast<double>(expected[j])));
      ++rows;
    });
    EXPECT_EQ(rows, n * static_cast<std::size_t>(engine.spec().num_layers * engine.spec().num_heads));
    EXPECT_LT(worst, 5e-5) << name;
  }
}

TEST(Reference, EndsAfterTheLastLayerThatIsWanted) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  int last = -1;
  reference_forward(engine, golden.ids, {.last_layer = 1}, [&](const ReferenceRow& row) { last = row.layer; });
  EXPECT_EQ(last, 1);
  std::stop_source stopped;
  stopped.request_stop();
  expect_error(Errc::cancelled, "", [&] {
    reference_forward(
        engine, golden.ids, {.last_layer = 1}, [](const ReferenceRow&) {}, {}, stopped.get_token());
  });
}

TEST(Formats, GgufGivesTheValuesOfSafetensors) {
  for (const char* name : {"llama", "llama_bias", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "phi3", "gpt2"}) {
    const Golden golden = load_golden(name);
    formats::OpenModelOptions options;
    if (std::string_view(name) == "mistral") options.sliding_window = 6;
    formats::ModelFile from_gguf = open_golden_gguf(name, TensorType::f32, options);
    formats::ModelFile from_folder = open_golden_model(name);
    from_gguf.spec.attention_scale = from_folder.spec.attention_scale;  // the format cannot say query_pre_attn_scalar
    Engine a(std::move(from_gguf), {}), b(std::move(from_folder), {});
    const auto gguf = all_logits(a, golden.ids), folder = all_logits(b, golden.ids);
    float scale = 0.0f;
    for (const float z : folder) scale = std::max(scale, std::abs(z));
    EXPECT_LT(largest_difference(gguf.data(), folder.data(), folder.size()), 1e-6f * scale) << name;
  }
}

TEST(Formats, SixteenBitWeightsAreTheSameInBothFormats) {
  for (const TensorType type : {TensorType::bf16, TensorType::f16}) {
    const Golden golden = load_golden("llama");
    Engine a(open_golden_gguf("llama", type), {}), b(open_golden_model("llama", type), {});
    const auto gguf = all_logits(a, golden.ids), folder = all_logits(b, golden.ids);
    // Vectors are F32 in GGUF and 16 bits wide in safetensors: norm weights differ in the last bits.
    EXPECT_LT(largest_difference(gguf.data(), folder.data(), folder.size()), type == TensorType::bf16 ? 0.2f : 0.02f);
  }
}

TEST(Formats, QuantisedWeightsRunAndStayNearTheExactModel) {
  const Golden golden = load_golden("llama");
  Engine exact(open_golden_model("llama"), {});
  const auto expected = all_logits(exact, golden.ids);
  double spread = 0.0;
  for (const float z : expected) spread += static_cast<double>(z) * z / static_cast<double>(expected.size());
  for (const TensorType type : {TensorType::q8_0, TensorType::q5_1, TensorType::q4_0}) {
    Engine engine(open_golden_gguf("llama", type), {});
    const auto logits = all_logits(engine, golden.ids);
    double error = 0.0;
    for (std::size_t k = 0; k < logits.size(); ++k) {
      const double difference = static_cast<double>(logits[k]) - static_cast<double>(expected[k]);
      error += difference * difference / static_cast<double>(logits.size());
    }
    EXPECT_GT(error, 0.0);
    EXPECT_LT(error, (type == TensorType::q8_0 ? 0.05 : 0.7) * spread);
  }
}

TEST(Formats, EightBitActivationsRunAndStayNear) {
  const Golden golden = load_golden("llama");
  EngineOptions quantised;
  quantised.act_quant = ActivationQuant::q8;
  Engine a(open_golden_gguf("llama", TensorType::q8_0), {}), b(open_golden_gguf("llama", TensorType::q8_0), quantised);
  const auto exact = all_logits(a, golden.ids), rough = all_logits(b, golden.ids);
  const float difference = largest_difference(exact.data(), rough.data(), rough.size());
  EXPECT_GT(difference, 0.0f);
  EXPECT_LT(difference, 2.0f);
}

}  // namespace
}  // namespace headlight::engine
