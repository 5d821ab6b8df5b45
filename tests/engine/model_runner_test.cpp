#include "core/engine/model_runner.h"

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

}  // namespace
}  // namespace headlight::engine
