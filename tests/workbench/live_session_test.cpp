#include "app/workbench/live_session.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "app/workbench/capture_document.h"
#include "app/workbench/method_form.h"
#include "base/error.h"
#include "tests/workbench/planted_host.h"

namespace headlight::workbench {
namespace {

using testing_support::PlantedHost;

TEST(NextTokens, WorkedExample) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2)
  const std::vector<float> base = {std::log(2.0f), 0.0f, 0.0f}, changed = {0.0f, 0.0f, std::log(2.0f)};
  const NextTokens next = compare_next_tokens(base, changed, 1);
  EXPECT_NEAR(next.base_entropy, 1.5 * std::log(2.0), 1e-6);
  EXPECT_NEAR(next.changed_entropy, 1.5 * std::log(2.0), 1e-6);
  EXPECT_NEAR(next.kl, 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
  EXPECT_NEAR(next.total_variation, 0.25, 1e-6);
  ASSERT_EQ(next.top.size(), 2u);  // the best of either side
  EXPECT_EQ(next.top[0].id, 0);
  EXPECT_EQ(next.top[0].base_rank, 0);
  EXPECT_EQ(next.top[0].changed_rank, 1);
  EXPECT_EQ(next.top[1].id, 2);
  EXPECT_EQ(next.top[1].base_rank, 2);
  EXPECT_NEAR(next.top[1].changed, 0.5, 1e-6);
}

TEST(NextTokens, EqualLogitsDifferByNothing) {
  const std::vector<float> logits = {0.3f, -2.0f, 5.0f, 5.0f};
  const NextTokens next = compare_next_tokens(logits, logits, 10);
  EXPECT_EQ(next.kl, 0.0);
  EXPECT_EQ(next.total_variation, 0.0);
  EXPECT_EQ(next.top.size(), 4u);
  EXPECT_EQ(next.top[0].id, 2);
}

TEST(LiveSession, AStackThatChangesNothingIsNotRun) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  intervention::Stack stack = {intervention::scale_heads({{1, 0}}, 1.0)};
  stack.push_back(intervention::ablate_heads({{1, 0}}));
  stack[0].id = "same";
  stack[1].id = "off";
  stack[1].enabled = false;
  const LiveResult result = live.run(planted.prompt(), stack);
  EXPECT_FALSE(result.is_changed());
  EXPECT_EQ(result.next.kl, 0.0);
}

TEST(LiveSession, WithoutTheInductionHeadTheCopyIsLost) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  const Prompt prompt = planted.prompt();
  const auto plain = live.run(prompt, {});
  // The text repeats with period 11, so the next token is the one that came 11 before the end.
  const std::int32_t expected = prompt.record.tokens[prompt.record.tokens.size() - 11].id;
  EXPECT_EQ(plain.next.top[0].id, expected);
  const auto changed = live.run(prompt, {intervention::ablate_heads({{1, 0}})});
  EXPECT_EQ(changed.base, plain.base) << "the pass without interventions is kept";
  ASSERT_TRUE(changed.is_changed());
  EXPECT_GT(changed.next.kl, 1.0);
  for (const TokenChance& chance : changed.next.top)
    if (chance.id == expected) {
      EXPECT_LT(chance.changed, chance.base / 2);
    }
}

TEST(LiveSession, MapsOfChangedWeightsAreThoseOfTheChangedPass) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  intervention::Intervention zero;
  zero.id = zero.method = "zero-tuning";
  zero.params["gamma"] = 0.0;
  const auto result = live.run(planted.prompt(), {zero});
  const CaptureDocument base(result.base->capture, "", "before"), changed(result.changed->capture, "", "after");
  ThreadPool pool(1);
  const HeadId sink{0, 2};
  const AttentionLine before = base.row(sink, 20, pool), after = changed.row(sink, 20, pool);
  EXPECT_TRUE(after.exact);
  EXPECT_GT(before.attn[0], 0.9f);
  EXPECT_EQ(after.attn[0], 0.0f);
  float sum = 0.0f;
  for (const float a : after.attn) sum += a;
  EXPECT_NEAR(sum, 1.0f, 1e-4f);
  EXPECT_NEAR(changed.statistic("received0", sink), (1.0 + 0.0 * 23) / 24, 1e-4) << "the first row sees nothing else";
}

// The pass starts in layer 1; what it shows is what a whole pass shows.
TEST(LiveSession, APassFromTheFirstChangedLayerIsAWholeOne) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  const intervention::Stack stack = {intervention::ablate_heads({{1, 0}})};
  const auto result = live.run(planted.prompt(), stack);
  RunRequest whole;
  whole.inputs.push_back(
      {.ids = token_ids_of(planted.prompt().record), .generate = 0, .targets = {}, .logit_rows = {-1}});
  whole.interventions = stack;
  whole.plan = result.changed->capture->header().plan;
  const RunResult expected = planted.host->runner().run(whole);
  EXPECT_EQ(result.changed->logits, expected.outputs[0].logits);
  for (const int layer : {0, 1}) {
    const auto found = result.changed->capture->statistic(0, "entropy", layer);
    const auto want = expected.capture->statistic(0, "entropy", layer);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), want.begin(), want.end())) << layer;
  }
}

TEST(LiveSession, KnowsTheHiddenUnitsOfTheModel) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  intervention::Intervention units;
  units.id = units.method = "neuron-scale";
  units.params["scale"] = 0.0;
  units.inputs.neurons = {0};
  EXPECT_TRUE(live.run(planted.prompt(), {units}).is_changed());
  units.inputs.neurons = {1 << 20};
  EXPECT_THROW(live.run(planted.prompt(), {units}), Error);
}

TEST(LiveSession, SaysWhichInterventionDoesNotFit) {
  PlantedHost planted;
  LiveSession live(*planted.host);
  try {
    live.run(planted.prompt(), {intervention::ablate_heads({{7, 0}})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("intervention"), std::string::npos) << error.what();
  }
  EXPECT_THROW(live.run({}, {}), Error);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(live.run(planted.prompt(), {}, stop.get_token()), Error);
}

}  // namespace
}  // namespace headlight::workbench
