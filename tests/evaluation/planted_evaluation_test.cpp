// Whole evaluations on a model whose heads have known roles: L1H0 copies, fed by L0H0.

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/evaluation/evaluation.h"
#include "analysis/evaluation/harm.h"
#include "app/cli/role_inputs.h"
#include "core/engine/model_runner.h"
#include "core/planted/planted_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::analysis {
namespace {

class PlantedEvaluation : public ::testing::Test {
 protected:
  void SetUp() override {
    planted::write_planted_model(planted::planted_model(), folder_.path(), true);
    engine_ =
        std::make_unique<engine::Engine>(formats::open_model(folder_.path()), engine::EngineOptions{.threads = 2});
    runner_ = engine::make_model_runner(*engine_);
    roles_ = cli::make_role_inputs(engine_->model(), 0);
    codec_.bos = roles_.pool.bos;
  }

  std::vector<TaskItem> items(std::size_t count) const {
    const Lexicon lexicon(Json{{"schema", "headlight.words/1"}, {"version", 1}, {"lists", Json::object()}});
    return make_items(require_task("copy"), {}, lexicon, Split::test, count, 0, roles_.pool.eligible, roles_.pool.bos);
  }
  Json report(const intervention::Stack& stack, std::size_t count, EvaluationOptions options = {.draws = 5}) {
    const TaskEvaluation evaluation(require_task("copy"), items(count), codec_, {}, stack, {2, 8, 4}, options);
    std::vector<Json> parts;
    for (std::size_t part = 0; part < evaluation.num_parts(); ++part)
      parts.push_back(parse_json(evaluation.run(*runner_, part, parts, {}).dump()));  // as a journal gives them back
    return evaluation.report(parts);
  }

  testing_support::TempFolder folder_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<ModelRunner> runner_;
  RoleInputs roles_;
  TaskCodec codec_;
};

TEST_F(PlantedEvaluation, TheModelCopies) {
  const Json task = report({}, 100);
  EXPECT_GT(task.at("arms").at("base").at("accuracy").get<double>(), 0.95);
  EXPECT_TRUE(task.at("above_chance").get<bool>());
  EXPECT_FALSE(task.contains("effect"));
}

TEST_F(PlantedEvaluation, KnockingOutTheCopyingHeadIsSeenAndRandomHeadsAreNot) {
  const Json task = report({intervention::ablate_heads({{1, 0}})}, 100);
  const Json& effect = task.at("effect");
  EXPECT_LT(effect.at("difference").get<double>(), -0.5);
  EXPECT_LT(effect.at("high").get<double>(), -0.4);
  EXPECT_LT(effect.at("p").get<double>(), 1e-6);
  EXPECT_EQ(effect.at("gained").get<int>(), 0);
  EXPECT_LT(effect.at("margin").at("high").get<double>(), 0.0);
  EXPECT_GT(task.at("arms").at("new").at("kl").get<double>(), 0.1);
  const Json& controls = task.at("controls");
  EXPECT_EQ(controls.at("identity").at("items_that_differ").get<int>(), 0);
  EXPECT_EQ(controls.at("random-heads").at("percentile").get<double>(), 0.0);
  EXPECT_EQ(controls.at("random-heads").at("draws").get<int>(), 5);
  // The planted model rests on its first token.
  EXPECT_EQ(controls.at("other-first-token").at("with_bos").get<bool>(), false);
}

TEST_F(PlantedEvaluation, AHeadThatWritesNothingChangesNothing) {
  const Json task = report({intervention::ablate_heads({{1, 5}})}, 60);
  EXPECT_EQ(task.at("effect").at("difference").get<double>(), 0.0);
  EXPECT_EQ(task.at("effect").at("p").get<double>(), 1.0);
}

TEST_F(PlantedEvaluation, DrawsMayBeScoredOnFewerItems) {
  const Json task = report({intervention::ablate_heads({{1, 0}})}, 90, {.draws = 2, .control_items = 20});
  const int n = task.at("controls").at("random-heads").at("n").get<int>();
  EXPECT_GE(n, 20);
  EXPECT_LT(n, 90);
}

TEST_F(PlantedEvaluation, HarmIsMeasured) {
  const auto inputs = harm_inputs({}, roles_.pool.eligible, roles_.pool.bos, 0, {.repeats = 4, .period = 10});
  const Harm whole = measure_harm(*runner_, inputs, {}, {});
  const Harm without = measure_harm(*runner_, inputs, {intervention::ablate_heads({{1, 0}})}, {});
  EXPECT_EQ(whole.repeat_tokens, 4 * 9);
  EXPECT_LT(whole.induction_loss, 0.5);
  EXPECT_GT(without.induction_loss, 2.0);
  EXPECT_TRUE(std::isnan(whole.perplexity));  // no text for a model without a tokenizer
}

TEST_F(PlantedEvaluation, FalseDiscoveryRatesAreOverTasks) {
  Json tasks = Json::array({{{"effect", {{"p", 0.01}}}}, {{"id", "plain"}}, {{"effect", {{"p", 0.04}}}}});
  add_false_discovery(tasks);
  EXPECT_NEAR(tasks[0]["effect"]["q"].get<double>(), 0.02, 1e-12);
  EXPECT_NEAR(tasks[2]["effect"]["q"].get<double>(), 0.04, 1e-12);
  EXPECT_FALSE(tasks[1].contains("effect"));
}

}  // namespace
}  // namespace headlight::analysis
