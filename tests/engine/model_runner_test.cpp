#include "core/engine/model_runner.h"

#include <cmath>
#include <cstring>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/capture/replay.h"
#include "tests/engine/golden_case.h"

namespace headlight::engine {
namespace {

using capture::CaptureLevel;
using intervention::HeadId;
using testing_support::load_golden;
using testing_support::open_golden_model;
using testing_support::with_value;

class ModelRunnerTest : public ::testing::Test {
 protected:
  RunRequest request(std::vector<intervention::Intervention> stack = {}) const {
    RunRequest out;
    RunInput input;
    input.ids = ids;
    input.targets = next_token_targets(ids);
    input.logit_rows = {3, -1};
    out.inputs.push_back(std::move(input));
    out.interventions = std::move(stack);
    return out;
  }
  std::vector<float> last_logits(std::vector<intervention::Intervention> stack) {
    auto result = runner->run(request(std::move(stack)));
    auto& logits = result.outputs[0].logits;
    return {logits.end() - engine.spec().vocab_size, logits.end()};
  }

  std::vector<std::int32_t> ids = load_golden("llama").ids;
  Engine engine{open_golden_model("llama"), {}};
  std::unique_ptr<ModelRunner> runner = make_model_runner(engine);
};

TEST_F(ModelRunnerTest, LogitsAndTargetsAreThoseOfASession) {
  const auto vocab = static_cast<std::size_t>(engine.spec().vocab_size);
  std::vector<float> all(ids.size() * vocab);
  Session(engine).forward(ids, all);
  const RunResult result = runner->run(request());
  const RunOutput& output = result.outputs[0];
  ASSERT_EQ(output.logits.size(), 2 * vocab);
  EXPECT_LT(testing_support::largest_difference(output.logits.data(), all.data() + 3 * vocab, vocab), 1e-4f);
  ASSERT_EQ(output.target_logprob.size(), ids.size() - 1);
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    double sum = 0.0;
    for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(all[i * vocab + v]));
    const double expected = static_cast<double>(all[i * vocab + static_cast<std::size_t>(ids[i + 1])]) - std::log(sum);
    EXPECT_NEAR(output.target_logprob[i], expected, 1e-5) << i;
  }
  RunRequest two = request();
  two.inputs[0].targets = {{2, ids[3]}, {2, ids[4]}, {9, ids[10]}};
  const auto some = runner->run(two).outputs[0].target_logprob;
  ASSERT_EQ(some.size(), 3u);
  EXPECT_NEAR(some[0], output.target_logprob[2], 1e-5);
  EXPECT_NEAR(some[2], output.target_logprob[9], 1e-5);
}

TEST_F(ModelRunnerTest, RecordsWhatThePlanAsksFor) {
  RunRequest wanted = request();
  wanted.inputs.push_back(wanted.inputs[0]);
  wanted.inputs[1].generate = 4;
  wanted.plan = capture::plan_of_all_heads(engine.spec().num_layers, engine.spec().num_heads, CaptureLevel::replay);
  wanted.plan.hidden_states = true;
  const RunResult result = runner->run(wanted);
  ASSERT_EQ(result.capture->num_records(), 2);
  const auto rows = static_cast<std::int64_t>(ids.size());
  EXPECT_EQ(result.capture->record(0).num_rows, rows);
  EXPECT_EQ(result.capture->record(1).num_rows, rows + 3);
  ASSERT_EQ(result.outputs[1].generated.size(), 4u);
  const auto generated = generate(engine, ids, 4, {});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(result.outputs[1].generated[i], generated[i].id);
  std::vector<float> row(static_cast<std::size_t>(rows));
  capture::replay_tile(*result.capture, {0, 1, 0}, {rows - 1, rows, 0, rows}, runner->pool(), row);
  float sum = 0.0f;
  for (const float a : row) sum += a;
  EXPECT_NEAR(sum, 1.0f, 1e-5f);
  const auto states = result.capture->hidden(0, "x");
  EXPECT_EQ(states.size(), static_cast<std::size_t>((engine.spec().num_layers + 1) * rows * engine.spec().hidden_size));
}

TEST_F(ModelRunnerTest, ScaleOneAndMixZeroChangeNoBit) {
  const auto base = last_logits({});
  EXPECT_EQ(last_logits({intervention::scale_heads({}, 1.0)}), base);
  intervention::Intervention off = intervention::ablate_heads({});
  off.enabled = false;
  EXPECT_EQ(last_logits({off}), base);
  EXPECT_NE(last_logits({intervention::ablate_heads({{0, 1}})}), base);
}

// Scaling a head by s is scaling its columns of the output projection.
TEST_F(ModelRunnerTest, ScalingAHeadIsScalingItsColumnsOfTheOutputProjection) {
  formats::ModelFile model = open_golden_model("llama");
  const auto& spec = engine.spec();
  const std::string name = "blk.1.attn_output.weight";
  const auto* tensor = model.weights.find(name);
  ASSERT_NE(tensor, nullptr);
  const int head = 2, width = spec.num_heads * spec.head_dim;
  const auto* values = reinterpret_cast<const float*>(tensor->data);
  for (std::int64_t out = 0; out < spec.hidden_size; ++out)
    for (int e = head * spec.head_dim; e < (head + 1) * spec.head_dim; ++e)
      model = with_value(std::move(model), name, out * width + e, 0.25f * values[out * width + e]);
  Engine folded(std::move(model), {});
  const auto expected = make_model_runner(folded)->run(request()).outputs[0].logits;
  const auto actual = runner->run(request({intervention::scale_heads({{1, head}}, 0.25)})).outputs[0].logits;
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t k = 0; k < actual.size(); ++k) EXPECT_NEAR(actual[k], expected[k], 1e-5f) << k;
}

TEST_F(ModelRunnerTest, ReplacingByZerosIsKnockOut) {
  std::vector<intervention::HeadValues> zeros = {
      {{1, 0}, std::vector<float>(static_cast<std::size_t>(engine.spec().head_dim), 0.0f)}};
  EXPECT_EQ(last_logits({intervention::replace_heads(zeros)}), last_logits({intervention::ablate_heads({{1, 0}})}));
}

TEST_F(ModelRunnerTest, GenerationIsUnderTheIntervention) {
  RunRequest wanted = request({intervention::ablate_heads({{0, 0}, {1, 1}})});
  wanted.inputs[0].generate = 6;
  const auto result = runner->run(wanted);
  auto sequence = ids;
  for (const std::int32_t id : result.outputs[0].generated) {
    RunRequest one = request(wanted.interventions);
    one.inputs[0] = {.ids = sequence, .generate = 1, .targets = {}, .logit_rows = {}};
    EXPECT_EQ(runner->run(one).outputs[0].generated.front(), id);
    sequence.push_back(id);
  }
}

TEST_F(ModelRunnerTest, RefusalsNameWhatIsWrong) {
  const auto message = [&](const RunRequest& wanted) -> std::string {
    try {
      runner->run(wanted);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(request({intervention::ablate_heads({{9, 0}})})), ::testing::HasSubstr("L9H0"));
  RunRequest wanted = request();
  wanted.inputs[0].targets = {{500, 1}};
  EXPECT_THAT(message(wanted), ::testing::HasSubstr("row 500"));
  intervention::Intervention unknown = intervention::ablate_heads({});
  unknown.params["factor"] = 2;
  EXPECT_THAT(message(request({unknown})), ::testing::HasSubstr("has no parameter 'factor'"));
  EXPECT_THAT(message(request({intervention::scale_heads({}, 9.0)})),
              ::testing::HasSubstr("expected -1 to 3, found 9"));
}

class ReuseTest : public ModelRunnerTest {
 protected:
  RunRequest recorded(intervention::Stack stack) const {
    RunRequest out = request(std::move(stack));
    out.plan = capture::plan_of_all_heads(engine.spec().num_layers, engine.spec().num_heads, CaptureLevel::replay);
    out.plan.hidden_states = true;
    return out;
  }
  std::shared_ptr<const capture::MemoryCapture> unchanged() { return runner->run(recorded({})).capture; }

  static void expect_equal(const Buffer<float>& x, const Buffer<float>& y, std::string_view what) {
    ASSERT_EQ(x.size(), y.size()) << what;
    EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)), 0) << what;
  }
  void expect_same(const capture::MemoryCapture& a, const capture::MemoryCapture& b) const {
    const std::int64_t rows = b.record(0).num_rows;
    EXPECT_EQ(a.record(0).num_rows, rows);
    EXPECT_EQ(a.available_statistics(0), b.available_statistics(0));
    const auto size = static_cast<std::size_t>(rows * engine.spec().head_dim);
    Buffer<float> x(size), y(size);
    for (int l = 0; l < engine.spec().num_layers; ++l) {
      for (const char* id : {"lse", "entropy", "pmax", "jmax", "received", "dist1"})
        expect_equal(a.statistic(0, id, l), b.statistic(0, id, l), id);
      expect_equal(a.block_sum(0, l, 1), b.block_sum(0, l, 1), "blocks");
      EXPECT_EQ(a.row_plan(0, l).program(1) == nullptr, b.row_plan(0, l).program(1) == nullptr);
      EXPECT_EQ(a.topk(0, l, 0).size(), b.topk(0, l, 0).size());
      a.read_q(0, l, 1, 0, rows, x.data());
      b.read_q(0, l, 1, 0, rows, y.data());
      expect_equal(x, y, "q");
      a.read_k(0, l, 0, 0, rows, x.data());
      b.read_k(0, l, 0, 0, rows, y.data());
      expect_equal(x, y, "k");
    }
    for (const char* id : {"x", "norm_l2", "cos_first", "key_norm"}) expect_equal(a.hidden(0, id), b.hidden(0, id), id);
    EXPECT_EQ(a.massive(0).size(), b.massive(0).size());
  }
};

TEST_F(ReuseTest, LayersOfAnEarlierRunGiveTheSameBits) {
  const auto one = [](const char* method, Json params) {
    intervention::Intervention entry;
    entry.id = entry.method = method;
    entry.params = std::move(params);
    entry.scope.layers = {1};
    return entry;
  };
  intervention::Intervention units = one("neuron-scale", {{"scale", -4.0}});
  units.inputs.neurons = {0, 3};
  const intervention::Stack stacks[] = {{intervention::scale_heads({{1, 1}}, 0.0)},
                                        {one("zero-tuning", {{"gamma", 3.0}})},
                                        {one("act", {{"theta", 0.05}, {"min_rows", 2}})},
                                        {one("block-scale", {{"scale", 0.3}})},
                                        {units},
                                        {one("zero-tuning", {{"gamma", 1.0}})}};
  const auto base = unchanged();
  for (const auto& stack : stacks) {
    SCOPED_TRACE(stack[0].method);
    RunRequest again = recorded(stack);
    const RunResult whole = runner->run(again);
    again.unchanged = base;
    const RunResult reused = runner->run(again);
    EXPECT_EQ(reused.outputs[0].logits, whole.outputs[0].logits);
    EXPECT_EQ(reused.outputs[0].target_logprob, whole.outputs[0].target_logprob);
    expect_same(*reused.capture, *whole.capture);
  }
}

TEST_F(ReuseTest, StepsBeforeAttentionAndOnEmbeddingsAreInTheFirstChangedLayer) {
  intervention::Intervention blur, steer;
  blur.id = blur.method = "embedding-blur";
  blur.inputs.spans = {{1, 4, {}}};
  steer.id = steer.method = "residual-steering";
  steer.scope.layers = {1};
  steer.inputs.layer_values = {{1, std::vector<float>(static_cast<std::size_t>(engine.spec().hidden_size), 0.1f)}};
  const auto base = unchanged();
  for (const auto& stack : {intervention::Stack{blur}, intervention::Stack{steer}}) {
    RunRequest again = recorded(stack);
    const RunResult whole = runner->run(again);
    again.unchanged = base;
    const RunResult reused = runner->run(again);
    EXPECT_EQ(reused.outputs[0].logits, whole.outputs[0].logits) << stack[0].method;
    const auto x = reused.capture->hidden(0, "x"), expected = whole.capture->hidden(0, "x");
    EXPECT_EQ(std::memcmp(x.data(), expected.data(), x.size() * sizeof(float)), 0) << stack[0].method;
  }
}

TEST_F(ReuseTest, RefusesACaptureOfSomethingElse) {
  RunRequest again = recorded({intervention::scale_heads({{1, 1}}, 0.0)});
  again.unchanged = unchanged();
  again.inputs[0].ids[2] += 1;
  EXPECT_THROW(runner->run(again), Error) << "other tokens";
  again = recorded({intervention::scale_heads({{1, 1}}, 0.0)});
  again.unchanged = unchanged();
  again.plan.topk = 3;
  EXPECT_THROW(runner->run(again), Error) << "another plan";
  again.plan.topk = again.unchanged->header().plan.topk;
  again.base_statistics = true;
  EXPECT_THROW(runner->run(again), Error) << "statistics that are not there";
  again.base_statistics = false;
  again.inputs[0].generate = 2;
  EXPECT_THROW(runner->run(again), Error) << "generated tokens need keys of every layer";
}

class ScoreTest : public ModelRunnerTest {
 protected:
  std::vector<std::int32_t> part(std::ptrdiff_t begin, std::ptrdiff_t end) const {
    return {ids.begin() + begin, ids.begin() + end};
  }
  /// Three prompts of different lengths; continuations that share nothing, begin alike, or are one token.
  std::vector<ScoreInput> inputs() const {
    return {{part(0, 7), {part(7, 8), part(7, 11), part(3, 6)}},
            {part(2, 14), {part(0, 1), part(5, 6)}},
            {part(4, 5), {part(5, 9)}}};
  }
  /// A continuation by itself, token after token.
  std::vector<double> one_by_one(const ScoreInput& input, std::size_t continuation, const intervention::Stack& stack) {
    const auto vocab = static_cast<std::size_t>(engine.spec().vocab_size);
    Session session(engine, stack);
    std::vector<float> logits(vocab);
    session.forward(input.ids, logits);
    std::vector<double> logprob;
    for (const std::int32_t id : input.continuations[continuation]) {
      double sum = 0.0;
      for (const float z : logits) sum += std::exp(static_cast<double>(z));
      logprob.push_back(static_cast<double>(logits[static_cast<std::size_t>(id)]) - std::log(sum));
      session.forward(std::span(&id, 1), logits);
    }
    return logprob;
  }
  void expect_one_by_one(const ScoreInput& input, const ScoreOutput& output, const intervention::Stack& stack) {
    ASSERT_EQ(output.logprob.size(), input.continuations.size());
    for (std::size_t c = 0; c < input.continuations.size(); ++c) {
      const auto expected = one_by_one(input, c, stack);
      ASSERT_EQ(output.logprob[c].size(), expected.size());
      for (std::size_t t = 0; t < expected.size(); ++t) EXPECT_NEAR(output.logprob[c][t], expected[t], 1e-5) << c << t;
    }
  }
  std::vector<intervention::Stack> stacks() const {
    intervention::Intervention zero, act;
    zero.id = zero.method = "zero-tuning";
    act.id = act.method = "act";
    zero.params["gamma"] = 3.0;
    act.params = {{"theta", 0.05}, {"min_rows", 2}};
    act.scope.layers = {1};
    intervention::Intervention late = intervention::scale_heads({{1, 1}}, 0.0);
    late.id = "late";
    return {{zero}, {act}, {late}};
  }
};

TEST_F(ScoreTest, ManyInputsTogetherAreAsOneTokenAfterTheOther) {
  const auto given = inputs();
  std::vector<ScoreVariant> variants = {{}};
  for (const auto& stack : stacks()) variants.push_back({{stack}});
  const auto found = runner->score(given, variants);
  ASSERT_EQ(found.size(), variants.size());
  for (std::size_t v = 0; v < variants.size(); ++v)
    for (std::size_t k = 0; k < given.size(); ++k) {
      SCOPED_TRACE(::testing::Message() << "variant " << v << ", input " << k);
      expect_one_by_one(given[k], found[v][k], v == 0 ? intervention::Stack{} : variants[v].stacks[0]);
      if (v == 0) {
        EXPECT_EQ(found[v][k].divergence, 0.0f);
      } else if (v != 2) {  // the calibrated layer has sinks in long prompts only
        EXPECT_GT(found[v][k].divergence, 0.0f);
      }
    }
}

// Steps on embeddings, the residual stream, blocks and hidden units, and keys that one layer finds for a later one.
TEST_F(ScoreTest, StepsOutsideAttentionAreThoseOfASession) {
  std::vector<ScoreInput> given = inputs();
  given.pop_back();  // too short for the spans
  const auto one = [](const char* method, Json params, std::vector<int> layers) {
    intervention::Intervention entry;
    entry.id = entry.method = method;
    entry.params = std::move(params);
    entry.scope.layers = std::move(layers);
    return entry;
  };
  intervention::Intervention blur = one("embedding-blur", Json::object(), {});
  blur.inputs.spans = {{1, 4, {}}};
  intervention::Intervention steer = one("residual-steering", Json::object(), {1});
  steer.inputs.layer_values = {{1, std::vector<float>(static_cast<std::size_t>(engine.spec().hidden_size), 0.1f)}};
  intervention::Intervention units = one("neuron-scale", {{"scale", -4.0}}, {0});
  units.inputs.neurons = {0, 3};
  intervention::Intervention gift = one("gift", {{"from_layer", 0}, {"alpha", 10.0}}, {1});
  gift.inputs.spans = {{1, 3, {}}};
  gift.inputs.other_spans = {{4, 6, {}}};
  const std::vector<intervention::Stack> stacks = {{blur},  {steer}, {one("block-scale", {{"scale", 0.3}}, {1})},
                                                   {units}, {gift},  {blur, steer, units, gift}};
  std::vector<ScoreVariant> variants = {{}};
  for (const auto& stack : stacks) variants.push_back({{stack}});
  const auto found = runner->score(given, variants);
  for (std::size_t v = 1; v < variants.size(); ++v)
    for (std::size_t k = 0; k < given.size(); ++k) {
      SCOPED_TRACE(::testing::Message() << "variant " << v << ", input " << k);
      expect_one_by_one(given[k], found[v][k], variants[v].stacks[0]);
      // The gaze acts on generated rows: continuations of one token have none.
      if (k == 0) {
        EXPECT_NE(found[v][k].logprob, found[0][k].logprob);
      }
    }
}

TEST_F(ScoreTest, WhatTheRunnerAlwaysDoesHoldsForScoresToo) {
  const auto given = inputs();
  const intervention::Stack zero = stacks()[0], late = stacks()[2];
  const auto changed = make_model_runner(engine, zero);
  const auto found = changed->score(given, std::vector<ScoreVariant>{{}, {{late}}});
  expect_one_by_one(given[0], found[0][0], zero);
  expect_one_by_one(given[0], found[1][0], {zero[0], late[0]});
}

TEST_F(ScoreTest, StartingInTheFirstChangedLayerChangesNoBit) {
  const auto given = inputs();
  const intervention::Stack late = stacks()[2];
  const auto together = runner->score(given, std::vector<ScoreVariant>{{}, {{late}}});
  const auto alone = runner->score(given, std::vector<ScoreVariant>{{{late}}});
  for (std::size_t k = 0; k < given.size(); ++k) EXPECT_EQ(together[1][k].logprob, alone[0][k].logprob);
}

TEST_F(ScoreTest, AnIdentityChangesNoBitAndThreadsNeither) {
  const auto given = inputs();
  intervention::Stack identity = stacks()[0];
  identity[0].params["gamma"] = 1.0;
  const auto base = runner->score(given, std::vector<ScoreVariant>{{}});
  const auto same = runner->score(given, std::vector<ScoreVariant>{{{identity}}});
  Engine other(open_golden_model("llama"), {.threads = 3});
  const auto threads = make_model_runner(other)->score(given, std::vector<ScoreVariant>{{}});
  for (std::size_t k = 0; k < given.size(); ++k) {
    EXPECT_EQ(same[0][k].logprob, base[0][k].logprob);
    EXPECT_EQ(threads[0][k].logprob, base[0][k].logprob);
    EXPECT_EQ(threads[0][k].entropy, base[0][k].entropy);
  }
}

TEST_F(ScoreTest, OtherInputsDoNotMatter) {
  const auto given = inputs();
  const auto all = runner->score(given, std::vector<ScoreVariant>{{}});
  for (std::size_t k = 0; k < given.size(); ++k) {
    const auto one = runner->score(std::span(given).subspan(k, 1), std::vector<ScoreVariant>{{}});
    for (std::size_t c = 0; c < given[k].continuations.size(); ++c)
      for (std::size_t t = 0; t < given[k].continuations[c].size(); ++t)
        EXPECT_NEAR(one[0][0].logprob[c][t], all[0][k].logprob[c][t], 1e-5);
  }
}

TEST_F(ScoreTest, EachInputMayHaveAStackOfItsOwn) {
  const auto given = inputs();
  ScoreVariant variant;
  for (std::size_t k = 0; k < given.size(); ++k) variant.stacks.push_back({intervention::mask_keys(0, k == 1 ? 2 : 0)});
  variant.stacks[0].clear();
  variant.stacks[2].clear();
  const auto found = runner->score(given, std::vector<ScoreVariant>{{}, variant});
  EXPECT_EQ(found[1][0].logprob, found[0][0].logprob);
  EXPECT_NE(found[1][1].logprob, found[0][1].logprob);
  expect_one_by_one(given[1], found[1][1], variant.stacks[1]);
}

TEST_F(ScoreTest, RefusesWhatIsOutsideTheModel) {
  EXPECT_THROW(runner->score(std::vector<ScoreInput>{{{1, 2}, {{}}}}, std::vector<ScoreVariant>{{}}), Error);
  EXPECT_THROW(runner->score(std::vector<ScoreInput>{{{1, 2}, {{1 << 20}}}}, std::vector<ScoreVariant>{{}}), Error);
  EXPECT_THROW(runner->score(std::vector<ScoreInput>{{{}, {{1}}}}, std::vector<ScoreVariant>{{}}), Error);
  const auto given = inputs();
  EXPECT_THROW(runner->score(given, std::vector<ScoreVariant>{{{{}, {}}}}), Error);  // two stacks for three inputs
}

}  // namespace
}  // namespace headlight::engine
