// Interventions at work in the engine: identity, what statistics show of them, prompt against generated rows.

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/engine/model_runner.h"
#include "core/intervention/method.h"
#include "tests/engine/golden_case.h"

namespace headlight::engine {
namespace {

using capture::CaptureLevel;
using intervention::Intervention;
using intervention::Stack;
using testing_support::largest_difference;
using testing_support::load_golden;
using testing_support::open_golden_model;

Intervention make(std::string method, Json params, std::vector<int> layers = {}) {
  Intervention out;
  out.id = out.method = std::move(method);
  out.params = std::move(params);
  out.scope.layers = std::move(layers);
  return out;
}

class InterventionTest : public ::testing::Test {
 protected:
  RunResult run(Stack stack, std::int64_t generate = 0, CaptureLevel level = CaptureLevel::summary) {
    RunRequest request;
    request.inputs = {{.ids = ids, .generate = generate, .targets = {}, .logit_rows = {0, 5, -1}}};
    request.interventions = std::move(stack);
    request.plan = capture::plan_of_all_heads(engine.spec().num_layers, engine.spec().num_heads, level);
    return runner->run(request);
  }
  std::vector<float> logits(Stack stack) { return run(std::move(stack)).outputs[0].logits; }

  /// Logits after `prompt` tokens at once and the others one by one.
  std::vector<float> decoded(const Stack& stack, std::size_t prompt) {
    std::vector<float> last(static_cast<std::size_t>(engine.spec().vocab_size));
    Session session(engine, stack);
    session.forward(std::span(ids).first(prompt), last);
    for (std::size_t i = prompt; i < ids.size(); ++i) session.forward(std::span(ids).subspan(i, 1), last);
    return last;
  }

  std::vector<std::int32_t> ids = load_golden("llama").ids;
  std::int64_t rows = static_cast<std::int64_t>(ids.size());
  Engine engine{open_golden_model("llama"), {}};
  std::unique_ptr<ModelRunner> runner = make_model_runner(engine);
};

/// Everything a method may ask for.
Intervention complete(Intervention entry, const formats::ModelSpec& spec) {
  entry.inputs.spans = {{2, 4, {}}};
  entry.inputs.sink_dims = {1};
  for (int l = 0; l < spec.num_layers; ++l)
    for (int h = 0; h < spec.num_heads; ++h)
      entry.inputs.head_values.push_back({{l, h}, std::vector<float>(static_cast<std::size_t>(spec.head_dim), 0.25f)});
  return entry;
}

TEST_F(InterventionTest, IdentitySettingsOfEveryMethodChangeNoBit) {
  const RunResult base = run({}, 5);
  for (const intervention::Method& method : intervention::methods()) {
    const auto dial = std::find_if(method.parameters.begin(), method.parameters.end(),
                                   [](const auto& parameter) { return !parameter.identity.is_null(); });
    ASSERT_NE(dial, method.parameters.end()) << method.id;
    const Json identity = {{std::string(dial->name), dial->identity}};
    const RunResult result = run({complete(make(std::string(method.id), identity), engine.spec())}, 5);
    EXPECT_EQ(result.outputs[0].logits, base.outputs[0].logits) << method.id;
    EXPECT_EQ(result.outputs[0].generated, base.outputs[0].generated) << method.id;
    EXPECT_EQ(result.outputs[0].generated_logprob, base.outputs[0].generated_logprob) << method.id;
    const auto lse = result.capture->statistic(0, "lse", 1), base_lse = base.capture->statistic(0, "lse", 1);
    EXPECT_TRUE(std::equal(lse.begin(), lse.end(), base_lse.begin())) << method.id;
  }
}

TEST_F(InterventionTest, OtherSettingsChangeTheLogits) {
  const auto base = logits({});
  const std::vector<Intervention> stack = {make("head-scale", {{"scale", 0.0}}, {1}),
                                           make("temperature", {{"tau", 2.0}}),
                                           make("key-ablation", {{"kind", "mask"}}),
                                           make("key-ablation", {{"kind", "zero_weight"}}),
                                           make("key-ablation", {{"kind", "zero_value"}}),
                                           make("zero-tuning", {{"gamma", 3.0}}),
                                           make("key-scale", {{"scale", 0.5}}),
                                           make("pasta", {{"alpha", 0.01}}),
                                           make("attention-replacement", {{"kind", "uniform"}}),
                                           make("attention-replacement", {{"kind", "reversed"}}),
                                           make("attention-replacement", {{"kind", "random"}}),
                                           make("attention-replacement", {{"kind", "shuffled"}}),
                                           make("soft-pag", {}),
                                           make("act", {{"theta", 0.1}, {"min_rows", 1}}, {0, 1}),
                                           make("head-steering", {{"alpha", 2.0}}),
                                           make("mean-ablation", {}, {0})};
  for (const Intervention& entry : stack)
    EXPECT_GT(largest_difference(logits({complete(entry, engine.spec())}).data(), base.data(), base.size()), 1e-3f)
        << entry.method << dump_json(entry.params, -1);
}

TEST_F(InterventionTest, PatchingItsOwnActivationsChangesNoBit) {
  Intervention own = make("activation-patching", Json::object(), {1});
  own.inputs.source_ids = ids;
  EXPECT_EQ(logits({own}), logits({}));
  auto other = ids;
  std::swap(other[3], other[7]);
  own.inputs.source_ids = other;
  EXPECT_NE(logits({own}), logits({}));
  own.inputs.source_ids.pop_back();
  EXPECT_THROW(logits({own}), Error);
}

// With every head of every layer patched, what is left of the prompt is its embeddings: those of the last token agree.
TEST_F(InterventionTest, PatchingEverythingGivesTheOtherRun) {
  auto other = ids;
  std::swap(other[3], other[7]);
  Intervention all = make("activation-patching", Json::object());
  all.inputs.source_ids = other;
  const auto patched = logits({all});
  std::swap(ids, other);
  const auto expected = logits({});
  const auto vocab = static_cast<std::size_t>(engine.spec().vocab_size);
  EXPECT_LT(largest_difference(patched.data() + 2 * vocab, expected.data() + 2 * vocab, vocab), 1e-4f);
}

TEST_F(InterventionTest, GeneratedRowsFollowTheSameRules) {
  const std::vector<Intervention> stack = {
      make("temperature", {{"tau", 1.5}}),
      make("key-ablation", {{"kind", "mask"}}),
      make("key-ablation", {{"kind", "zero_weight"}}),
      make("key-ablation", {{"kind", "zero_value"}}),
      make("zero-tuning", {{"gamma", 3.0}}),
      make("key-scale", {{"scale", 0.5}}),
      make("attention-replacement", {{"kind", "random"}}),
      make("attention-replacement", {{"kind", "shuffled"}}),
      make("soft-pag", {}),
      make("head-scale", {{"scale", 0.5}}),
  };
  for (const Intervention& entry : stack) {
    const auto at_once = decoded({entry}, ids.size()), one_by_one = decoded({entry}, ids.size() - 6);
    EXPECT_LT(largest_difference(at_once.data(), one_by_one.data(), at_once.size()), 2e-3f)
        << entry.method << dump_json(entry.params, -1);
  }
}

TEST_F(InterventionTest, ScopesOfPhasesTakeTurns) {
  Intervention prompt_only = make("temperature", {{"tau", 2.0}}), later = prompt_only;
  prompt_only.scope.phase = intervention::Phase::prefill;
  later.scope.phase = intervention::Phase::decode;
  later.id = "later";
  const std::size_t prompt = ids.size() - 4;
  EXPECT_NE(decoded({prompt_only}, prompt), decoded({}, prompt));
  EXPECT_EQ(decoded({later}, ids.size()), decoded({}, ids.size()));
  EXPECT_EQ(decoded({prompt_only, later}, prompt), decoded({make("temperature", {{"tau", 2.0}})}, prompt));
}

TEST_F(InterventionTest, StatisticsAreThoseOfTheChangedWeights) {
  const RunResult base = run({});
  const auto first = [&](const RunResult& result) { return result.capture->statistic(0, "first", 0); };
  const auto lse = [&](const RunResult& result) { return result.capture->statistic(0, "lse", 0); };
  const RunResult tuned = run({make("zero-tuning", {{"gamma", 3.0}})});
  const RunResult masked = run({make("key-ablation", {{"kind", "mask"}})});
  const RunResult no_weight = run({make("key-ablation", {{"kind", "zero_weight"}})});
  const RunResult no_value = run({make("key-ablation", {{"kind", "zero_value"}})});
  for (int h = 0; h < engine.spec().num_heads; ++h) {
    EXPECT_EQ(first(masked)[static_cast<std::size_t>(h * rows)], 1.0f);  // sees nothing else
    for (std::int64_t i = 1; i < rows; ++i) {
      const auto n = static_cast<std::size_t>(h * rows + i);
      const double a = static_cast<double>(first(base)[n]);
      EXPECT_NEAR(first(tuned)[n], 3.0 * a / (1.0 + 2.0 * a), 1e-5);
      EXPECT_NEAR(lse(tuned)[n], static_cast<double>(lse(base)[n]) + std::log(1.0 + 2.0 * a), 1e-4);
      EXPECT_EQ(first(masked)[n], 0.0f);
      EXPECT_EQ(first(no_weight)[n], 0.0f);
      EXPECT_EQ(first(no_value)[n], first(base)[n]);
    }
  }
  EXPECT_LT(largest_difference(no_weight.outputs[0].logits.data(), no_value.outputs[0].logits.data(),
                               no_value.outputs[0].logits.size()),
            1e-4f);
}

// In the first layer that is changed, sinks keep exactly beta of what they had on every row that sees another key.
TEST_F(InterventionTest, SinksKeepBetaOfTheirWeight) {
  const double theta = 0.12, beta = 0.25;
  const RunResult base = run({});
  const RunResult calibrated = run({make("act", {{"beta", beta}, {"theta", theta}, {"min_rows", 4}}, {0})});
  const auto received = [&](const RunResult& result, int h, std::int64_t j) {
    return static_cast<double>(result.capture->statistic(0, "received", 0)[static_cast<std::size_t>(h * rows + j)]);
  };
  int sinks = 0;
  for (int h = 0; h < engine.spec().num_heads; ++h)
    for (std::int64_t j = 1; j + 4 <= rows; ++j) {
      const double mean = received(base, h, j) / static_cast<double>(rows - j);
      if (std::abs(mean - theta) < 1e-4 || mean < theta) continue;
      ++sinks;
      EXPECT_NEAR(received(calibrated, h, j), beta * received(base, h, j), 1e-4) << h << " " << j;
    }
  EXPECT_GT(sinks, 0);
}

TEST_F(InterventionTest, WithoutASinkCalibrationChangesNoBit) {
  EXPECT_EQ(logits({make("act", {{"theta", 0.5}}, {0, 1})}), logits({}));
}

TEST_F(InterventionTest, RandomReplacementsDoNotDependOnThreads) {
  EngineOptions one;
  one.threads = 1;
  Engine single(open_golden_model("llama"), one);
  for (const char* kind : {"random", "shuffled"}) {
    const Stack stack = {make("attention-replacement", {{"kind", kind}, {"seed", 3}})};
    std::vector<float> alone(static_cast<std::size_t>(single.spec().vocab_size));
    Session(single, stack).forward(ids, alone);
    EXPECT_EQ(alone, decoded(stack, ids.size()));
    EXPECT_NE(alone, decoded({make("attention-replacement", {{"kind", kind}, {"seed", 4}})}, ids.size()));
  }
}

TEST_F(InterventionTest, EveryArchitectureRunsChanged) {
  for (const char* name : {"gemma2", "gpt_oss", "mistral", "qwen3", "phi3"}) {
    Engine other(open_golden_model(name), {});
    const auto tokens = load_golden(name).ids;
    std::vector<float> base(static_cast<std::size_t>(other.spec().vocab_size)), changed = base;
    Session(other).forward(tokens, base);
    Session(other, Stack{make("zero-tuning", {{"gamma", 4.0}}), make("soft-pag", {}, {1})}).forward(tokens, changed);
    EXPECT_NE(base, changed) << name;
  }
}

TEST_F(InterventionTest, ReplayOfChangedWeightsIsRefused) {
  try {
    run({make("temperature", {{"tau", 2.0}})}, 0, CaptureLevel::replay);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::unsupported);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("level summary"));
  }
  run({intervention::ablate_heads({{0, 0}})}, 0, CaptureLevel::replay);
}

}  // namespace
}  // namespace headlight::engine
