#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/intervention/intervention_file.h"

namespace headlight::intervention {
namespace {

constexpr std::string_view kText = R"({
  "schema": "headlight.intervention/1",
  "kind": "intervention",
  "model": {
    "name": "m"
  },
  "interventions": [
    {
      "id": "emphasis",
      "method": "pasta",
      "version": 1,
      "enabled": true,
      "scope": {
        "layers": [
          2,
          3
        ],
        "heads": "L2H*",
        "rows": [
          4,
          9
        ],
        "phase": "decode"
      },
      "params": {
        "alpha": 0.05
      },
      "inputs": {
        "spans": [
          {
            "tokens": [
              1,
              3
            ]
          },
          {
            "text": "Paris"
          }
        ]
      },
      "compat": "repo"
    },
    {
      "id": "steer",
      "method": "head-steering",
      "version": 1,
      "enabled": false,
      "scope": {
        "heads": [
          "L0H1"
        ]
      },
      "params": {},
      "inputs": {
        "head_values": [
          {
            "head": "L0H1",
            "values": [
              0.5,
              -1.0
            ]
          }
        ]
      },
      "compat": "paper"
    }
  ],
  "evidence": {
    "accuracy": 0.5
  }
})";

TEST(InterventionFile, WritesWhatItReads) {
  const InterventionFile file = intervention_file_from_json(parse_json(kText));
  ASSERT_EQ(file.interventions.size(), 2u);
  EXPECT_EQ(file.interventions[0].scope.rows.end, 9);
  EXPECT_EQ(file.interventions[0].scope.phase, Phase::decode);
  EXPECT_EQ(file.interventions[1].inputs.head_values[0].values, (std::vector<float>{0.5f, -1.0f}));
  EXPECT_EQ(dump_json(to_json(file)), kText);
}

TEST(InterventionFile, RefusesWhatItDoesNotKnow) {
  const auto message = [](const std::string& from, const std::string& to) -> std::string {
    std::string text(kText);
    text.replace(text.find(from), from.size(), to);
    try {
      intervention_file_from_json(parse_json(text));
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + error.what();
    }
    return "";
  };
  EXPECT_THAT(message("\"alpha\"", "\"enabled\""), "");  // parameters are checked against a model
  EXPECT_THAT(message("\"compat\": \"repo\"", "\"kompat\": \"repo\""),
              ::testing::HasSubstr("interventions[0]: unknown key 'kompat'"));
  EXPECT_THAT(message("\"pasta\"", "\"pesto\""),
              ::testing::HasSubstr("interventions[0].method: unknown method 'pesto'"));
  EXPECT_THAT(message("intervention/1", "intervention/2"), ::testing::HasSubstr("bad_version"));
  EXPECT_THAT(message("\"kind\": \"intervention\"", "\"kind\": \"procedure\""), ::testing::HasSubstr("procedure"));
  EXPECT_THAT(message("\"id\": \"steer\"", "\"id\": \"emphasis\""), ::testing::HasSubstr("occurs twice"));
  EXPECT_THAT(message("\"L0H1\"", "\"H1\""), ::testing::HasSubstr("scope.heads: expected a head such as"));
  EXPECT_THAT(message("\"decode\"", "\"late\""), ::testing::HasSubstr("prefill or decode"));
  EXPECT_THAT(message("4,\n          9", "9,\n          4"), ::testing::HasSubstr("scope.rows"));
}

TEST(LookUpSpans, TakesEveryOccurrenceAndEveryTokenThatTouchesIt) {
  // "Große Stadt, Stadt": tokens "Gro", "ß" in two bytes of which each is a token, "e", " Sta", "dt", ",", " Stadt"
  const std::string text =
      "Gro\xC3\x9F"
      "e Stadt, Stadt";
  const std::vector<TokenPlace> tokens = {{0, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 10}, {10, 12}, {12, 13}, {13, 19}};
  Stack stack(1);
  stack[0].inputs.spans = {{-1, -1, "Stadt"}, {-1, -1, "o\xC3\x9F"}, {0, 1, {}}};
  look_up_spans(stack, text, tokens);
  const auto& spans = stack[0].inputs.spans;
  ASSERT_EQ(spans.size(), 4u);
  EXPECT_EQ(spans[0], (Span{4, 6, "Stadt"}));
  EXPECT_EQ(spans[1], (Span{7, 8, "Stadt"}));
  EXPECT_EQ(spans[2], (Span{0, 3, "o\xC3\x9F"}));
  EXPECT_EQ(spans[3], (Span{0, 1, {}}));
  stack[0].inputs.spans = {{-1, -1, "Dorf"}};
  EXPECT_THROW(look_up_spans(stack, text, tokens), Error);
}

}  // namespace
}  // namespace headlight::intervention
