#include "analysis/evaluation/option_scores.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::analysis {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

/// A token for each word with the space before it; "ab" and "b" melt into one where they meet.
TaskCodec word_codec() {
  TaskCodec codec;
  codec.encode = [](std::string_view text) {
    TaskCodec::Tokens out;
    for (std::size_t begin = 0; begin < text.size();) {
      std::size_t end = text.find(' ', begin + 1);
      if (end == std::string_view::npos) end = text.size();
      std::int32_t id = 7;
      for (const char c : text.substr(begin, end - begin)) id = (id * 31 + c) % 1000003;
      out.ids.push_back(id);
      out.places.push_back({static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)});
      begin = end;
    }
    return out;
  };
  return codec;
}

TaskItem question() {
  TaskItem item;
  item.id = "made/0";
  item.prompt = "one two three two";
  item.options = {" four", " five six"};
  item.gold = 1;
  item.evidence = "two three";
  return item;
}

TEST(PreparedItemTest, OptionsFollowThePrompt) {
  const std::vector<TaskItem> items = {question()};
  const auto plain = prepare_items(items, word_codec());
  EXPECT_FALSE(plain[0].merged);
  EXPECT_EQ(plain[0].input.ids.size(), 4u);
  EXPECT_EQ(plain[0].input.continuations[0].size(), 1u);
  EXPECT_EQ(plain[0].input.continuations[1].size(), 2u);
  TaskCodec with_bos = word_codec();
  with_bos.bos = 1;
  const auto begun = prepare_items(items, with_bos);
  EXPECT_EQ(begun[0].input.ids.front(), 1);
  EXPECT_EQ(begun[0].places.front().begin, -1);
  EXPECT_EQ(begun[0].places.size(), begun[0].input.ids.size());
}

// Without its space the option melts into the last word: it is scored from where all tokens still agree.
TEST(PreparedItemTest, MergedTokensAreFlaggedAndScoredFromTheirBeginning) {
  TaskItem item = question();
  item.options = {"s", " five"};
  const auto found = prepare_items(std::vector<TaskItem>{item}, word_codec());
  EXPECT_TRUE(found[0].merged);
  EXPECT_EQ(found[0].input.ids.size(), 3u);
  EXPECT_EQ(found[0].input.continuations[0], word_codec().encode("one two three twos").ids.size() == 4
                                                 ? std::vector<std::int32_t>{word_codec().encode(" twos").ids}
                                                 : std::vector<std::int32_t>{});
  EXPECT_EQ(found[0].input.continuations[1], word_codec().encode(" two five").ids);
  EXPECT_THROW(prepare_items(std::vector<TaskItem>{item}, TaskCodec{}), Error);
}

TEST(ScoreFormTest, WorkedExample) {
  TaskItem item = question();
  item.options = {" été", " five six"};        // 4 characters, 9 characters
  const std::vector<TaskItem> items = {item};  // outlives what points to it
  const auto prepared = prepare_items(items, word_codec());
  const OptionScores scores{.sum = {-2.0, -3.0}, .first = {-2.0, -2.5}};
  const auto values = [&](ScoreForm form) {
    return option_values(prepared[0], scores, form, std::vector<double>{-1.0, -4.0});
  };
  EXPECT_THAT(values(ScoreForm::sum), ElementsAre(-2.0, -3.0));
  EXPECT_THAT(values(ScoreForm::per_token), ElementsAre(-2.0, -1.5));
  EXPECT_THAT(values(ScoreForm::per_char), ElementsAre(DoubleNear(-0.5, 1e-12), DoubleNear(-1.0 / 3.0, 1e-12)));
  EXPECT_THAT(values(ScoreForm::calibrated), ElementsAre(-1.0, 1.0));
  EXPECT_THAT(values(ScoreForm::first), ElementsAre(-2.0, -2.5));
}

TEST(VerdictTest, WorkedExample) {
  const Verdict right = verdict_of(std::vector<double>{std::log(0.5), std::log(0.3), std::log(0.2)}, 0);
  EXPECT_TRUE(right.right);
  EXPECT_NEAR(right.margin, std::log(0.5 / 0.3), 1e-12);
  EXPECT_NEAR(right.brier, 0.25 + 0.09 + 0.04, 1e-12);
  EXPECT_NEAR(right.option_entropy, 1.029653, 1e-6);
  const Verdict tied = verdict_of(std::vector<double>{-1.0, -1.0}, 1);
  EXPECT_FALSE(tied.right);
  EXPECT_TRUE(tied.tied);
  EXPECT_FALSE(verdict_of(std::vector<double>{-1.0, -2.0}, 1).right);
}

TEST(StackOfItemTest, SpansComeFromTheItem) {
  TaskItem item = question();
  const std::vector<TaskItem> items = {item};  // outlives what points to it
  const auto prepared = prepare_items(items, word_codec());
  Arm arm{.id = "new", .stack = intervention::Stack(1)};
  arm.stack[0].id = arm.stack[0].method = "pasta";
  arm.stack[0].inputs.spans = {{-1, -1, "{evidence}"}};
  EXPECT_TRUE(needs_items(arm.stack));
  const auto stack = stack_of_item(arm, prepared[0], 0);
  ASSERT_EQ(stack[0].inputs.spans.size(), 1u);
  EXPECT_EQ(stack[0].inputs.spans[0].begin, 1);
  EXPECT_EQ(stack[0].inputs.spans[0].end, 3);
  arm.stack[0].inputs.spans = {{-1, -1, "two"}};  // every occurrence
  EXPECT_EQ(stack_of_item(arm, prepared[0], 0)[0].inputs.spans.size(), 2u);
  arm.stack[0].inputs.spans = {{-1, -1, "{decoy}"}};
  EXPECT_THROW(stack_of_item(arm, prepared[0], 0), Error);
  arm.span_of_item = [](const PreparedItem&, std::size_t number) {
    const auto at = static_cast<std::int64_t>(number);
    return intervention::Span{at, at + 1, {}};
  };
  arm.stack[0].inputs.spans.clear();
  EXPECT_TRUE(stack_of_item(arm, prepared[0], 3)[0].inputs.spans.empty()) << "steering is not about the first token";
  arm.stack[0].method = "zero-tuning";
  EXPECT_EQ(stack_of_item(arm, prepared[0], 3)[0].inputs.spans[0].begin, 3);
}

TEST(OptionScoresTest, JsonComesBackBitForBit) {
  const OptionScores scores{.sum = {-1.0 / 3.0, -1e-300}, .first = {-0.1, -2.0}, .entropy = 0.7, .divergence = 1e-9};
  const OptionScores back = option_scores_from_json(parse_json(to_json(scores).dump()));
  EXPECT_EQ(back.sum, scores.sum);
  EXPECT_EQ(back.first, scores.first);
  EXPECT_EQ(back.entropy, scores.entropy);
  EXPECT_EQ(back.divergence, scores.divergence);
  EXPECT_THROW(option_scores_from_json(Json::object()), Error);
}

}  // namespace
}  // namespace headlight::analysis
