#include "analysis/evaluation/controls.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/evaluation/harm.h"

namespace headlight::analysis {
namespace {

constexpr heads::HeadGrid kGrid{4, 6, 3};

intervention::Intervention entry_of(const std::string& method) {
  intervention::Intervention entry;
  entry.id = entry.method = method;
  return entry;
}

intervention::Stack stack_on(std::vector<heads::HeadId> heads) {
  intervention::Intervention entry = entry_of("zero-tuning");
  entry.scope.heads = std::move(heads);
  entry.params["gamma"] = 3.0;
  return {entry};
}

TEST(ControlsTest, IdentityIsEachParametersValueThatChangesNothing) {
  intervention::Stack stack = stack_on({});
  stack.push_back(entry_of("act"));
  stack.push_back(intervention::ablate_heads({{0, 1}}));
  const auto identity = identity_of(stack);
  EXPECT_EQ(identity[0].params.at("gamma"), 1.0);
  EXPECT_EQ(identity[1].params.at("beta"), 1.0);
  EXPECT_EQ(identity[2].params.at("scale"), 1.0);
}

TEST(ControlsTest, RandomHeadsNeverOverlapAndKeepTheirLayers) {
  const auto stack = stack_on({{1, 0}, {1, 5}, {3, 2}});
  std::set<std::vector<heads::HeadId>> drawn;
  for (std::uint64_t draw = 0; draw < 20; ++draw) {
    SplitMix64 random = SplitMix64::stream(0, "random-heads", draw);
    const auto other = on_random_heads(stack, kGrid, random);
    ASSERT_TRUE(other.has_value());
    const auto heads = (*other)[0].scope.heads;
    ASSERT_EQ(heads.size(), 3u);
    for (const auto head : heads) EXPECT_THAT(stack[0].scope.heads, ::testing::Not(::testing::Contains(head)));
    EXPECT_EQ(heads[0].layer, 1);
    EXPECT_EQ(heads[1].layer, 1);
    EXPECT_EQ(heads[2].layer, 3);
    EXPECT_EQ((*other)[0].params, stack[0].params);
    drawn.insert(heads);
  }
  EXPECT_GT(drawn.size(), 5u);
}

TEST(ControlsTest, AWholeLayerIsReplacedByHeadsOfAllLayers) {
  std::vector<heads::HeadId> layer;
  for (int h = 0; h < kGrid.num_heads; ++h) layer.push_back({1, h});
  std::set<std::vector<heads::HeadId>> drawn;
  for (std::uint64_t draw = 0; draw < 20; ++draw) {
    SplitMix64 random = SplitMix64::stream(0, "random-heads", draw);
    drawn.insert((*on_random_heads(stack_on(layer), kGrid, random))[0].scope.heads);
  }
  EXPECT_GT(drawn.size(), 10u);
}

TEST(ControlsTest, EntriesThatShareAHeadShareTheDrawnOne) {
  auto stack = stack_on({{0, 1}, {2, 3}});
  stack.push_back(stack[0]);
  stack[1].id = "other";
  stack[1].scope.heads.clear();
  stack[1].scope.heads_expression = "L*H3";
  stack[1].scope.layers = {2};
  ASSERT_THAT(heads_named(stack[1], kGrid), ::testing::ElementsAre(heads::HeadId{2, 3}));
  SplitMix64 random(3);
  const auto other = on_random_heads(stack, kGrid, random);
  ASSERT_TRUE(other.has_value());
  ASSERT_EQ((*other)[1].scope.heads.size(), 1u);
  EXPECT_EQ((*other)[1].scope.heads[0], (*other)[0].scope.heads[1]);
  EXPECT_EQ((*other)[1].scope.heads[0].layer, 2);
  stack[0].params["gamma"] = Json::array({Json::array({1.0, 2.0})});
  EXPECT_FALSE(on_random_heads(stack, kGrid, random).has_value()) << "values for every head stay where they are";
}

TEST(ControlsTest, AllHeadsOrMostOfThemLeaveNothingToDraw) {
  SplitMix64 random(1);
  EXPECT_FALSE(on_random_heads(stack_on({}), kGrid, random).has_value());
  std::vector<heads::HeadId> most;
  for (int l = 0; l < 3; ++l)
    for (int h = 0; h < 6; ++h) most.push_back({l, h});
  EXPECT_FALSE(on_random_heads(stack_on(most), kGrid, random).has_value());
}

TEST(ControlsTest, ExpressionsNameHeadsToo) {
  auto stack = stack_on({});
  stack[0].scope.heads_expression = "L1H* & !L1H0";
  EXPECT_EQ(heads_named(stack[0], kGrid).size(), 5u);
}

TEST(ControlsTest, AnotherTokenIsNeverTheFirst) {
  const auto stack = stack_on({});
  ASSERT_TRUE(acts_on_first_token(stack));
  const Arm arm = on_random_token(stack, 0);
  PreparedItem item;
  item.input.ids = {1, 2, 3, 4, 5};
  std::set<std::int64_t> places;
  for (std::size_t k = 0; k < 60; ++k) places.insert(arm.span_of_item(item, k).begin);
  EXPECT_THAT(places, ::testing::ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(arm.span_of_item(item, 7), arm.span_of_item(item, 7));
}

TEST(ControlsTest, TheWrongSpanIsTheDecoy) {
  intervention::Stack stack = {entry_of("pasta")};
  EXPECT_FALSE(on_wrong_span(stack).has_value());
  stack[0].inputs.spans = {{-1, -1, "{evidence}"}};
  EXPECT_EQ(on_wrong_span(stack)->front().inputs.spans[0].text, "{decoy}");
}

TEST(ControlsTest, TemperatureActsWhereTheStackDoes) {
  auto stack = stack_on({{1, 0}});
  stack.push_back(entry_of("act"));
  stack.back().enabled = false;
  const auto other = temperature_instead(stack, kGrid, 1.5);
  ASSERT_EQ(other.size(), 1u);
  EXPECT_EQ(other[0].method, "temperature");
  EXPECT_EQ(other[0].params.at("tau"), 1.5);
  EXPECT_EQ(other[0].scope.heads, stack[0].scope.heads);
}

TEST(HarmTest, RepeatedShareOfGrams) {
  const std::vector<std::int32_t> ids = {1, 2, 3, 1, 2, 3, 1, 2};  // grams of 2: 12 23 31 12 23 31 12
  EXPECT_DOUBLE_EQ(repeated_share(ids, 2), 4.0 / 7.0);
  EXPECT_EQ(repeated_share(ids, 9), 0.0);
}

TEST(HarmTest, WindowsTileTheText) {
  std::vector<std::int32_t> text(100);
  for (std::size_t k = 0; k < text.size(); ++k) text[k] = static_cast<std::int32_t>(k);
  const auto inputs = harm_inputs(text, text, 7, 0,
                                  {.context = 20,
                                   .scored = 30,
                                   .windows = 16,
                                   .repeats = 2,
                                   .period = 5,
                                   .prompts = 2,
                                   .prompt = 10,
                                   .generated = 4});
  ASSERT_EQ(inputs.windows.size(), 2u);  // 0..50 and 30..80; a third would end at 110
  EXPECT_EQ(inputs.windows[1].ids.front(), 7);
  EXPECT_EQ(inputs.windows[1].ids[1], 30);
  EXPECT_EQ(inputs.windows[1].continuations[0].front(), 50);
  EXPECT_EQ(inputs.windows[1].continuations[0].size(), 30u);
  ASSERT_EQ(inputs.repeats.size(), 2u);
  EXPECT_EQ(inputs.repeats[0].ids.size(), 6u);
  EXPECT_TRUE(std::equal(inputs.repeats[0].ids.begin() + 1, inputs.repeats[0].ids.end(),
                         inputs.repeats[0].continuations[0].begin()));
  EXPECT_EQ(inputs.prompts.size(), 2u);
}

}  // namespace
}  // namespace headlight::analysis
