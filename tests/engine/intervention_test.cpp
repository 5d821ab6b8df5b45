// Interventions at work in the engine: identity, what statistics show of them, prompt against generated rows.

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/capture/replay.h"
#include "core/capture/statistics_check.h"
#include "core/engine/model_runner.h"
#include "core/engine/reference_attention.h"
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
  if (entry.method != "pasta") entry.inputs.other_spans = {{5, 7, {}}};
  entry.inputs.sink_dims = {1};
  entry.inputs.neurons = {0, 3};
  for (int l = 0; l < spec.num_layers; ++l)
    entry.inputs.layer_values.push_back({l, std::vector<float>(static_cast<std::size_t>(spec.hidden_size), 0.25f)});
  for (int l = 0; l < spec.num_layers; ++l)
    for (int h = 0; h < spec.num_heads; ++h)
      entry.inputs.head_values.push_back({{l, h}, std::vector<float>(static_cast<std::size_t>(spec.head_dim), 0.25f)});
  return entry;
}

TEST_F(InterventionTest, IdentitySettingsOfEveryMethodChangeNoBit) {
  const RunResult base = run({}, 5);
  for (const intervention::Method& method : intervention::methods()) {
    Json identity = Json::object();
    for (const intervention::Parameter& parameter : method.parameters)
      if (!parameter.identity.is_null() && (method.joint_identity || identity.empty()))
        identity[std::string(parameter.name)] = parameter.identity;
    ASSERT_FALSE(identity.empty()) << method.id;
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
                                           make("mean-ablation", {}, {0}),
                                           make("raise-scores", {{"last_row_only", false}}),
                                           make("span-weights", {{"lambda", 3.0}}),
                                           make("dual-softmax", {}),
                                           make("answer-swap", {}),
                                           make("embedding-blur", {}),
                                           make("residual-steering", {}, {1}),
                                           make("block-scale", {{"scale", 0.0}}, {1}),
                                           make("block-scale", {{"block", "feed_forward"}, {"scale", 0.5}}, {0}),
                                           make("neuron-scale", {{"scale", -4.0}})};
  for (const Intervention& entry : stack)
    EXPECT_GT(largest_difference(logits({complete(entry, engine.spec())}).data(), base.data(), base.size()), 1e-3f)
        << entry.method << dump_json(entry.params, -1);
}

// Biases add: in any order, and one after the other like their product.
TEST_F(InterventionTest, ReweightingsComposeAndCommute) {
  Intervention second = make("zero-tuning", {{"gamma", 0.5}}), pasta = make("pasta", {{"alpha", 0.1}});
  second.id = "again";
  pasta.inputs.spans = {{2, 4, {}}};
  const Intervention first = make("zero-tuning", {{"gamma", 3.0}});
  const auto both = logits({first, second}), product = logits({make("zero-tuning", {{"gamma", 1.5}})});
  EXPECT_LT(largest_difference(both.data(), product.data(), both.size()), 1e-5f);
  const auto one = logits({first, pasta}), other = logits({pasta, first});
  EXPECT_LT(largest_difference(one.data(), other.data(), one.size()), 1e-5f);
  second.params["gamma"] = 1.0 / 3.0;
  EXPECT_LT(largest_difference(logits({first, second}).data(), logits({}).data(), both.size()), 1e-4f);
}

// A dial that is turned back leaves no trace.
TEST_F(InterventionTest, TurningADialBackGivesEveryBitBack) {
  const auto base = logits({});
  for (const double gamma : {4.0, 0.0, 1.0}) {
    const auto got = logits({make("zero-tuning", {{"gamma", gamma}})});
    EXPECT_EQ(got == base, gamma == 1.0);
  }
}

// Without its heads and without its block, attention adds nothing either way.
TEST_F(InterventionTest, ABlockWithoutHeadsIsNoBlock) {
  const auto heads = logits({make("head-scale", {{"scale", 0.0}}, {0, 1})});
  const auto block = logits({make("block-scale", {{"scale", 0.0}}, {0, 1})});
  EXPECT_LT(largest_difference(heads.data(), block.data(), heads.size()), 1e-4f);
}

// The scale of a head is that of its columns of the output projection, [hidden_size][H * head_dim].
TEST_F(InterventionTest, ScaledHeadsAreScaledWeights) {
  const formats::ModelSpec& spec = engine.spec();
  const std::int64_t width = std::int64_t{spec.num_heads} * spec.head_dim, first = std::int64_t{2} * spec.head_dim;
  Engine folded(testing_support::with_values(open_golden_model("llama"), "blk.1.attn_output.weight",
                                             [&](std::span<float> w) {
                                               for (std::int64_t k = 0; k < std::ssize(w); ++k)
                                                 if (k % width >= first && k % width < first + spec.head_dim)
                                                   w[static_cast<std::size_t>(k)] *= -0.5f;
                                             }),
                {});
  std::vector<float> expected(static_cast<std::size_t>(spec.vocab_size));
  Session(folded).forward(ids, expected);
  const auto scaled = decoded({intervention::scale_heads({{1, 2}}, -0.5)}, ids.size());
  ASSERT_EQ(scaled.size(), expected.size());
  EXPECT_LT(largest_difference(scaled.data(), expected.data(), expected.size()), 1e-5f);
  EXPECT_GT(largest_difference(decoded({}, ids.size()).data(), expected.data(), expected.size()), 1e-3f);
}

// The gaze is found on the prompt and acts on generated rows only.
TEST_F(InterventionTest, GazeActsOnGeneratedRows) {
  Intervention gift = make("gift", {{"from_layer", 0}, {"alpha", 10.0}}, {1});
  gift.inputs.spans = {{1, 5, {}}};
  gift.inputs.other_spans = {{6, 9, {}}};
  EXPECT_EQ(logits({gift}), logits({}));
  EXPECT_NE(decoded({gift}, 10), decoded({}, 10));
  RunRequest request;
  request.inputs = {{.ids = ids, .generate = 4, .targets = {}, .logit_rows = {}}};
  request.interventions = {gift};
  request.plan = capture::plan_of_all_heads(engine.spec().num_layers, engine.spec().num_heads, CaptureLevel::summary);
  const RunResult result = runner->run(request);
  const kernels::RowProgram* program = result.capture->row_plan(0, 1).program(0);
  ASSERT_NE(program, nullptr);
  EXPECT_EQ(program->steps[0].num_runs, 5);  // four keys and one question
}

TEST_F(InterventionTest, BranchesAreContrasted) {
  const auto vocab = static_cast<std::size_t>(engine.spec().vocab_size);
  intervention::Contrast contrast;
  contrast.gamma = 2.0;
  contrast.branches = {{"uniform", {make("attention-replacement", {{"kind", "uniform"}})}}};
  std::vector<float> expected(vocab);
  std::vector<std::vector<float>> branch(1, expected);
  Session(engine).forward(ids, expected);
  Session(engine, contrast.branches[0].interventions).forward(ids, branch[0]);
  intervention::combine_logits(contrast, expected, branch);
  const auto best = std::max_element(expected.begin(), expected.end()) - expected.begin();
  const auto tokens = generate(engine, ids, 3, {}, 0, {}, {}, {}, &contrast);
  EXPECT_EQ(tokens[0].id, best);
  // A branch that is the sequence itself changes no choice.
  contrast.branches[0].interventions.clear();
  const auto same = generate(engine, ids, 4, {}, 0, {}, {}, {}, &contrast), plain = generate(engine, ids, 4, {});
  for (std::size_t n = 0; n < plain.size(); ++n) EXPECT_EQ(same[n].id, plain[n].id);
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

/// A stack that touches every stage of a row, on some of the heads.
Stack every_stage() {
  Stack stack = {make("zero-tuning", {{"gamma", 3.0}}), make("temperature", {{"tau", 1.5}}, {1}),
                 make("key-scale", {{"scale", 0.5}}, {1}),
                 make("act", {{"beta", 0.25}, {"theta", 0.12}, {"min_rows", 4}}, {0}), make("soft-pag", {}, {1})};
  stack.back().scope.rows.kind = intervention::RowScope::Kind::generated;
  return stack;
}

// Everything that a capture holds follows from q, k and the row plans: statistics of both kinds, dense maps, top-k.
TEST_F(InterventionTest, CapturesReplayChangedRows) {
  RunRequest request;
  request.inputs = {{.ids = ids, .generate = 4, .targets = {}, .logit_rows = {}}};
  request.interventions = every_stage();
  request.base_statistics = true;
  request.plan = capture::plan_of_all_heads(engine.spec().num_layers, engine.spec().num_heads, CaptureLevel::maps);
  const RunResult result = runner->run(request);
  const capture::CaptureView& view = *result.capture;
  const std::int64_t num_rows = view.record(0).num_rows;
  ASSERT_TRUE(view.record(0).header.has_base);
  ThreadPool pool(2);
  capture::StatisticsCheck check(view, 0, 0, num_rows, pool);
  for (int l = 0; l < engine.spec().num_layers; ++l)
    for (int h = 0; h < engine.spec().num_heads; ++h) check.add_head(l, h, {});
  int base_checks = 0;
  for (const capture::Check& found : check.results()) {
    EXPECT_TRUE(found.passed()) << found.name << ": " << found.where;
    base_checks += found.name.ends_with("_base") ? 1 : 0;
  }
  EXPECT_EQ(base_checks, 14);  // twelve of rows, two of columns

  // In the first layer the base map is that of the unchanged model.
  request.interventions.clear();
  const RunResult plain = runner->run(request);
  const auto size = static_cast<std::size_t>(rows * rows);
  std::vector<float> base(size), changed(size), expected(size);
  const capture::TileRange tile{0, rows, 0, rows};
  capture::replay_tile(view, {0, 0, 0, true}, tile, pool, base);
  capture::replay_tile(view, {0, 0, 0}, tile, pool, changed);
  capture::replay_tile(*plain.capture, {0, 0, 0}, tile, pool, expected);
  EXPECT_EQ(base, expected);
  EXPECT_NE(changed, expected);
  // Steps that depend on what was found are in the plan with what was found.
  EXPECT_EQ(capture::RowPlan::from_json(view.row_plan(0, 0).to_json(), engine.spec().num_heads, "").to_json(),
            view.row_plan(0, 0).to_json());
}

TEST_F(InterventionTest, TheReferencePassActsAsTheKernels) {
  RunRequest request;
  request.inputs = {{.ids = ids, .generate = 4, .targets = {}, .logit_rows = {}}};
  request.interventions = every_stage();
  request.interventions.push_back(intervention::scale_heads({{0, 1}}, 0.5));
  request.plan = capture::plan_of_all_heads(engine.spec().num_layers, engine.spec().num_heads, CaptureLevel::replay);
  const RunResult result = runner->run(request);
  const std::int64_t num_rows = result.capture->record(0).num_rows;
  std::vector<std::int32_t> all = ids;
  all.insert(all.end(), result.outputs[0].generated.begin(), result.outputs[0].generated.end());
  all.resize(static_cast<std::size_t>(num_rows));
  std::vector<float> replayed(static_cast<std::size_t>(num_rows));
  double worst = 0.0;
  reference_forward(engine, all, {.interventions = request.interventions, .num_prompt_tokens = rows},
                    [&](const ReferenceRow& row) {
                      capture::replay_tile(*result.capture, {0, row.layer, row.head},
                                           {row.query, row.query + 1, 0, num_rows}, engine.pool(), replayed);
                      for (std::size_t j = 0; j < row.attn_j.size(); ++j)
                        worst = std::max(worst, std::abs(static_cast<double>(replayed[j]) - row.attn_j[j]));
                    });
  EXPECT_LT(worst, 2e-5);
}

}  // namespace
}  // namespace headlight::engine
