#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/intervention/contrast.h"
#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

using kernels::RowOp;

const ModelShape kShape{4, 3, 1, 2, 8, 16};
const PromptFacts kPrompt{10};

Intervention one(std::string method, Json params, Scope scope = {}) {
  Intervention out;
  out.id = method + "-1";
  out.method = std::move(method);
  out.params = std::move(params);
  out.scope = std::move(scope);
  return out;
}

std::string message_of(const Stack& stack) {
  try {
    compile(stack, kShape, kPrompt);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    return error.what();
  }
  return "";
}

TEST(Compile, EveryMethodDeclaresItsIdentityAndLeavesNothingThere) {
  for (const Method& method : methods()) {
    Json off = Json::object();
    for (const Parameter& parameter : method.parameters)
      if (!parameter.identity.is_null() && (method.joint_identity || off.empty()))
        off[std::string(parameter.name)] = parameter.identity;
    ASSERT_FALSE(off.empty()) << method.id;
    Intervention identity = one(std::string(method.id), off);
    identity.inputs.spans = {{2, 4, {}}};
    EXPECT_TRUE(compile({{identity}}, kShape, kPrompt).empty()) << method.id;
    EXPECT_FALSE(method.title.empty() || method.formula.empty() || method.hook.empty()) << method.id;
  }
}

TEST(Compile, ParametersMayDifferByHead) {
  const Intervention scaled =
      one("head-scale", {{"scale", Json::array({1.0, Json::array({1.0, 0.5, 1.0}), 2.0, 1.0})}});
  const Program program = compile({{scaled}}, kShape, kPrompt);
  EXPECT_TRUE(program.layers[0].empty());
  ASSERT_EQ(program.layers[1].outputs.size(), 1u);
  EXPECT_EQ(program.layers[1].outputs[0].head, 1);
  EXPECT_EQ(program.layers[1].outputs[0].keep, 0.5f);
  EXPECT_EQ(program.layers[2].outputs.size(), 3u);
}

TEST(Compile, ScopeChoosesRowsLayersAndHeads) {
  Scope scope;
  scope.heads_expression = "L1H* | L3H2";
  scope.layers = {3};
  scope.rows.kind = RowScope::Kind::last;
  Program program = compile({{one("temperature", {{"tau", 2.0}}, scope)}}, kShape, kPrompt);
  EXPECT_TRUE(program.layers[1].empty());
  ASSERT_EQ(program.layers[3].steps_h[2].size(), 1u);
  EXPECT_TRUE(program.layers[3].steps_h[0].empty());
  EXPECT_EQ(program.layers[3].steps_h[2][0].rows.begin, 9);
  scope.phase = Phase::prefill;
  program = compile({{one("temperature", {{"tau", 2.0}}, scope)}}, kShape, kPrompt);
  EXPECT_EQ(program.layers[3].steps_h[2][0].rows.end, 10);
  scope.rows.kind = RowScope::Kind::generated;
  EXPECT_TRUE(compile({{one("temperature", {{"tau", 2.0}}, scope)}}, kShape, kPrompt).empty());
}

TEST(Compile, LayersOfAnotherModelKeepTheirPlace) {
  Scope scope;
  scope.layers = {0, 16, 31};
  scope.layers_of = 32;
  const Program program = compile({{one("temperature", {{"tau", 2.0}}, scope)}}, kShape, kPrompt);
  EXPECT_FALSE(program.layers[0].empty());
  EXPECT_TRUE(program.layers[1].empty());
  EXPECT_FALSE(program.layers[2].empty());
  EXPECT_FALSE(program.layers[3].empty());
}

TEST(Compile, StepsAreInTheOrderOfARow) {
  const Stack stack = {one("soft-pag", {}), one("zero-tuning", {{"gamma", 2.0}}), one("temperature", {{"tau", 2.0}}),
                       one("key-scale", {{"scale", 0.5}})};
  const Program program = compile(stack, kShape, kPrompt);
  const auto& steps = program.layers[0].steps_h[1];
  ASSERT_EQ(steps.size(), 4u);
  EXPECT_EQ(steps[0].op, RowOp::scale_keys);
  EXPECT_EQ(steps[1].op, RowOp::temperature);
  EXPECT_EQ(steps[2].op, RowOp::bias);
  EXPECT_EQ(steps[3].op, RowOp::mix_self);
}

TEST(Compile, TwoStepsOnTheSameWeightsAreAnErrorThatNamesBoth) {
  Scope third;
  third.layers = {2};
  const std::string message = message_of({one("soft-pag", {}), one("act", {}, third)});
  EXPECT_THAT(message, ::testing::HasSubstr("'soft-pag-1' and 'act-1'"));
  EXPECT_THAT(message, ::testing::HasSubstr("L2H0"));
  Scope prompt, decode;
  prompt.phase = Phase::prefill;
  decode.phase = Phase::decode;
  EXPECT_EQ(message_of({one("soft-pag", {}, prompt), one("attention-replacement", {}, decode)}), "");
}

TEST(Compile, TwoSetsOfTokens) {
  Intervention weights = one("span-weights", {{"lambda", 2.0}, {"lambda_other", 0.5}});
  weights.inputs.spans = {{4, 6, {}}};
  weights.inputs.other_spans = {{0, 2, {}}};
  const Program program = compile({{weights}}, kShape, kPrompt);
  const auto& step = program.layers[0].steps_h[0][0];
  ASSERT_EQ(step.num_runs, 2);
  EXPECT_EQ(step.runs[0].begin, 0);
  EXPECT_FLOAT_EQ(step.runs[0].value, std::log(0.5f));
  EXPECT_FLOAT_EQ(step.runs[1].value, std::log(2.0f));
  weights.inputs.other_spans = {{5, 7, {}}};
  EXPECT_THAT(message_of({weights}), ::testing::HasSubstr("tokens 5 to 6 are in both sets"));
  // Only both at 1 change nothing.
  weights.inputs.other_spans.clear();
  weights.params = {{"lambda", 1.0}};
  EXPECT_FALSE(compile({{weights}}, kShape, kPrompt).empty());
  EXPECT_THAT(message_of({one("gift", {})}), ::testing::HasSubstr("needs a span"));
}

TEST(Compile, GazeIsFoundInOneLayerAndActsOnLaterOnes) {
  Intervention gift = one("gift", {{"from_layer", 0}});
  gift.inputs.spans = {{1, 4, {}}};
  gift.inputs.other_spans = {{6, 8, {}}};
  gift.scope.layers = {2};
  const Program program = compile({{gift, one("zero-tuning", {{"gamma", 2.0}})}}, kShape, kPrompt);
  ASSERT_EQ(program.layers[0].gazes.size(), 1u);
  ASSERT_EQ(program.layers[0].gazes[0].targets.size(), 3u);
  for (const LaterStep& later : program.layers[0].gazes[0].targets) {
    const auto& step = program.layers[2].steps_h[static_cast<std::size_t>(later.step.head)][later.step.step];
    EXPECT_EQ(later.layer, 2);
    EXPECT_EQ(step.op, RowOp::shift_gaze);  // sorted behind the bias, the reference moved along
    EXPECT_EQ(step.rows.begin, 10);
  }
}

TEST(Gaze, SaliencyOfTheWorkedExample) {
  const std::vector<double> got = gaze_saliency({{{0, .1, .4, .2}}});
  const double expected[] = {0, .25, 1, .5};
  for (std::size_t j = 0; j < 4; ++j) EXPECT_NEAR(got[j], expected[j], 1e-12);
  GazeDetection detection;
  detection.image = {{2, 4}, {6, 8}};
  detection.question = {{4, 6}};
  detection.alpha = 5.0;
  const auto runs = gaze_runs(detection, got);
  ASSERT_EQ(runs.size(), 5u);
  EXPECT_NEAR(runs[1].value, 3.490343, 1e-5);
  EXPECT_EQ(runs[2].value, -1.0f);
  EXPECT_NEAR(runs[3].value, 148.413159, 1e-4);
  EXPECT_NEAR(runs[4].value, 12.182494, 1e-5);
  // A constant map weighs nothing; of two heads the one that shifts more is kept.
  EXPECT_EQ(gaze_saliency({{{.3, .3}}}), (std::vector<double>{0, 0}));
  EXPECT_EQ(gaze_saliency({{{.1, 0}}, {{0, .5}}}), (std::vector<double>{0, 1}));
}

TEST(Contrast, CombinesLogitsLikeTheWorkedExample) {
  Contrast contrast;
  contrast.gamma = 0.5;
  contrast.cutoff = 0.1;
  std::vector<float> l = {2, 1.5f, -1};
  const std::vector<std::vector<float>> branches = {{2, .5f, -1}, {1.5f, .5f, 0}};
  combine_logits(contrast, l, branches);
  EXPECT_FLOAT_EQ(l[0], 2.25f);
  EXPECT_FLOAT_EQ(l[1], 2.5f);
  EXPECT_EQ(l[2], -INFINITY);  // -1 < 2 + ln .1
  contrast.cutoff = 0.0;
  l = {2, 1.5f, -1};
  combine_logits(contrast, l, branches);
  EXPECT_FLOAT_EQ(l[2], -1.5f);
  // Branches like the sequence itself change nothing, gamma 0 does not either.
  l = {2, 1.5f, -1};
  combine_logits(contrast, l, std::vector<std::vector<float>>(2, l));
  EXPECT_FLOAT_EQ(l[1], 1.5f);
  contrast.gamma = 0.0;
  combine_logits(contrast, l, branches);
  EXPECT_EQ(l[1], 1.5f);
}

TEST(Compile, RefusalsSayWhatWasExpected) {
  EXPECT_THAT(message_of({one("zero-tuning", {{"gamma", 21}})}), ::testing::HasSubstr("expected 0 to 20, found 21"));
  EXPECT_THAT(message_of({one("zero-tuning", {{"gama", 2}})}), ::testing::HasSubstr("no parameter 'gama'"));
  EXPECT_THAT(message_of({one("act", {{"threshold", "mean"}})}),
              ::testing::HasSubstr("expected one of absolute, alpha_over_N"));
  EXPECT_THAT(message_of({one("pasta", {})}), ::testing::HasSubstr("needs a span"));
  EXPECT_THAT(message_of({one("temprature", {})}), ::testing::HasSubstr("unknown method 'temprature'"));
  EXPECT_THAT(message_of({one("temperature", {{"tau", Json::array({1, 2})}})}),
              ::testing::HasSubstr("each of 4 layers, found 2"));
  Intervention beyond = one("pasta", {});
  beyond.inputs.spans = {{8, 11, {}}};
  EXPECT_THAT(message_of({beyond}), ::testing::HasSubstr("no span of a prompt of 10 tokens"));
}

double bias_of(const kernels::RowStep& step, std::int64_t key) {
  for (std::int64_t r = 0; r < step.num_runs; ++r)
    if (key >= step.runs[r].begin && key < step.runs[r].end) return static_cast<double>(step.runs[r].value);
  return 0.0;
}

double pasta_bias(const Intervention& pasta, std::int64_t key) {
  const Program program = compile({{pasta}}, kShape, kPrompt);
  double sum = 0.0;
  for (const auto& step : program.layers[0].steps_h[0]) sum += bias_of(step, key);
  return sum;
}

TEST(Pasta, BiasesThePromptOutsideTheSpansOnce) {
  Intervention pasta = one("pasta", {{"alpha", 0.01}});
  pasta.inputs.spans = {{2, 4, {}}, {6, 7, {}}};
  EXPECT_NEAR(pasta_bias(pasta, 0), std::log(0.01), 1e-6);
  EXPECT_EQ(pasta_bias(pasta, 3), 0.0);
  EXPECT_EQ(pasta_bias(pasta, 6), 0.0);
  EXPECT_EQ(pasta_bias(pasta, 10), 0.0);  // generated keys
  pasta.compat = "repo";                  // once for every section
  EXPECT_NEAR(pasta_bias(pasta, 0), 2 * std::log(0.01), 1e-5);
  EXPECT_NEAR(pasta_bias(pasta, 3), std::log(0.01), 1e-6);
  pasta.params["mode"] = "include";
  pasta.params["alpha"] = 100.0;
  EXPECT_NEAR(pasta_bias(pasta, 0), -std::log(100.0), 1e-6);
  EXPECT_EQ(pasta_bias(pasta, 3), 0.0);
}

TEST(Act, FindsTheSinksOfTheWorkedExample) {
  // Six rows; column means .60, .108, .3875, .0533, .05, .05.
  const std::vector<std::int64_t> rows = {6, 5, 4, 3, 2, 1};
  const std::vector<float> received = {.60f * 6, .108f * 5, .3875f * 4, .0533f * 3, .05f * 2, .05f};
  SinkDetection detection;
  detection.min_rows = 1;
  EXPECT_THAT(detect_sinks(detection, received, rows), ::testing::ElementsAre(1, 2));
  detection.threshold = 5.0 / 6.0;
  EXPECT_THAT(detect_sinks(detection, received, rows), ::testing::IsEmpty());
  detection.threshold = 0.3;
  EXPECT_THAT(detect_sinks(detection, received, rows), ::testing::ElementsAre(2));
  detection.min_rows = 5;
  EXPECT_THAT(detect_sinks(detection, received, rows), ::testing::IsEmpty());
}

TEST(Act, SparesTheFirstTokenOrTheFirstSink) {
  const std::vector<std::int64_t> rows = {6, 5, 4, 3, 2, 1};
  const std::vector<float> late = {.3f, 1.0f, .1f, 1.5f, .0f, .0f};  // token 0 is none
  SinkDetection detection;
  detection.min_rows = 1;
  EXPECT_THAT(detect_sinks(detection, late, rows), ::testing::ElementsAre(1, 3));
  detection.spare_first_found = true;
  EXPECT_THAT(detect_sinks(detection, late, rows), ::testing::ElementsAre(3));
}

TEST(Act, LeavesOutTheFirstTwoLayersAndTheLastUnlessNamed) {
  const ModelShape deep{6, 1, 1, 2, 8};
  const Program program = compile({{one("act", {})}}, deep, kPrompt);
  for (const int layer : {0, 1, 5}) EXPECT_TRUE(program.layers[static_cast<std::size_t>(layer)].empty()) << layer;
  for (const int layer : {2, 3, 4}) EXPECT_EQ(program.layers[static_cast<std::size_t>(layer)].sinks.size(), 1u);
}

TEST(Var, MassiveTokensAndTheirGroups) {
  std::vector<float> x(4096, 1.0f);
  x[1415] = 30.0f;
  EXPECT_NEAR(massive_ratio(x, std::vector<int>{1415, 2533}), 27.17, 0.01);
  std::fill(x.begin(), x.end(), 0.0f);
  x[7] = 5.0f;
  EXPECT_LE(massive_ratio(x, std::vector<int>{7}), std::sqrt(4096.0));
  MassiveDetection detection;
  detection.tau = 20.0;
  detection.spans = {{1, 5}};
  const std::vector<double> ratio = {30.0, 1.0, 25.0, 20.0, 3.0, 1.0, 1.0};  // 20 is not above 20
  const auto runs = massive_groups(detection, ratio);
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[0].value, 1.0f);
  EXPECT_EQ(runs[1].value, 3.0f);
  EXPECT_EQ(runs[2].value, 2.0f);
  EXPECT_EQ(runs[3].value, 3.0f);
  EXPECT_EQ(runs[3].end, 5);
  EXPECT_TRUE(massive_groups(detection, std::vector<double>{30, 1, 1, 1, 1, 1, 1}).empty());
}

TEST(Var, ActsOnRowsAfterTheSpanAndNotInTheLastLayer) {
  Intervention var = one("var", {});
  var.inputs.spans = {{1, 5, {}}};
  var.inputs.sink_dims = {3};
  const Program program = compile({{var}}, kShape, kPrompt);
  EXPECT_TRUE(program.layers[0].empty() && program.layers[1].empty() && program.layers[3].empty());
  ASSERT_EQ(program.layers[2].massive.size(), 1u);
  EXPECT_EQ(program.layers[2].massive[0].targets.size(), 3u);
  EXPECT_EQ(program.layers[2].steps_h[0][0].rows.begin, 5);
  EXPECT_NEAR(program.layers[2].massive[0].tau, 0.3125 * std::sqrt(8.0), 1e-12);
}

}  // namespace
}  // namespace headlight::intervention
