#include "core/heads/head_set.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::heads {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Three layers of four heads, two KV heads. entropy = 0, 0.25, 0.5, ...; the last one is undefined.
HeadFacts facts() {
  HeadFacts facts;
  facts.grid = {.num_layers = 3, .num_heads = 4, .num_kv_heads = 2};
  facts.metrics = {"entropy", "received0", "group_mass:1"};
  facts.metric = [](std::string_view id) {
    std::vector<double> values(12);
    for (std::size_t at = 0; at < values.size(); ++at)
      values[at] = id == "entropy" ? 0.25 * static_cast<double>(at) : id == "received0" ? 0.5 : 1.0;
    if (id == "entropy") values[11] = kNan;
    return values;
  };
  facts.labels_lh.resize(12);
  facts.labels_lh[1] = {"retrieval", "induction"};
  facts.labels_lh[6] = {"induction"};
  facts.sets["mine"] = HeadMask(12, 0);
  facts.sets["mine"][5] = 1;
  return facts;
}

std::string selected(std::string_view text) {
  const HeadFacts all = facts();
  return to_text(all.grid, parse_heads(text, all));
}

TEST(HeadSet, Ids) {
  EXPECT_EQ(selected("L1H2"), "L1H2");
  EXPECT_EQ(selected("1.2"), "L1H2");
  EXPECT_EQ(selected("L1H*"), "L1H*");
  EXPECT_EQ(selected("1.*"), "L1H*");
  EXPECT_EQ(selected("L*H3"), "L0H3, L1H3, L2H3");
  EXPECT_EQ(selected("*.3"), "L0H3, L1H3, L2H3");
  EXPECT_EQ(selected("L2G1"), "L2H2, L2H3");
  EXPECT_EQ(selected("L0H1,2.0 | L2H1"), "L0H1, L2H0, L2H1");
  EXPECT_EQ(selected(""), "L0H*, L1H*, L2H*");
}

TEST(HeadSet, Metrics) {
  EXPECT_EQ(selected("entropy<0.5"), "L0H0, L0H1");
  EXPECT_EQ(selected("entropy <= 0.5"), "L0H0, L0H1, L0H2");
  EXPECT_EQ(selected("entropy>2.25"), "L2H2") << "undefined compares false";
  EXPECT_EQ(selected("entropy!=0 & layer=0"), "L0H1, L0H2, L0H3");
  EXPECT_EQ(selected("layer>=2 & head < 1"), "L2H0");
  EXPECT_EQ(selected("group_mass:1=1 & 0.0"), "L0H0");
  EXPECT_EQ(selected("!entropy>=0"), "L2H3") << "what is undefined is not greater";
}

TEST(HeadSet, RolesAndSets) {
  EXPECT_EQ(selected("role=induction"), "L0H1, L1H2");
  EXPECT_EQ(selected("primary=induction"), "L1H2");
  EXPECT_EQ(selected("role=retrieval & entropy<1.2"), "L0H1");
  EXPECT_EQ(selected("set:mine | !!L0H0"), "L0H0, L1H1");
}

TEST(HeadSet, UnionBindsWeakerThanIntersection) {
  EXPECT_EQ(selected("L0H0 | L1H* & head=1"), "L0H0, L1H1");
  EXPECT_EQ(selected("(L0H0 | L1H*) & head=1"), "L1H1");
  EXPECT_EQ(selected("!(layer<2 | head>0)"), "L2H0");
}

TEST(HeadSet, Rankings) {
  EXPECT_EQ(selected("top(entropy, 2)"), "L2H1, L2H2");
  EXPECT_EQ(selected("bottom(entropy,2)"), "L0H0, L0H1");
  EXPECT_EQ(selected("top(received0, 3)"), "L0H0, L0H1, L0H2") << "ties by layer and head";
  EXPECT_EQ(selected("top(received0, 10%)"), "L0H0, L0H1") << "1.2 heads are rounded up";
  EXPECT_EQ(selected("top(entropy, 100)"), "L0H*, L1H*, L2H0, L2H1, L2H2") << "undefined values never rank";
  EXPECT_EQ(selected("top(entropy, 2) & L2H2"), "L2H2");
}

TEST(HeadSet, TextReadsBack) {
  const HeadFacts all = facts();
  const HeadMask mask = parse_heads("L0H* | L1H2 | L2G0", all);
  EXPECT_EQ(parse_heads(to_text(all.grid, mask), all), mask);
}

TEST(HeadSet, UnknownLayersAreLeftOutAndMayNotBeNamed) {
  HeadFacts some = facts();
  some.layer_known = {1, 0, 1};
  EXPECT_EQ(to_text(some.grid, parse_heads("L*H1", some)), "L0H1, L2H1");
  EXPECT_EQ(to_text(some.grid, parse_heads("!L0H*", some)), "L2H*");
  EXPECT_THROW(parse_heads("L1H1", some), Error);
}

struct BadText {
  std::string_view text;
  std::size_t column;
  std::string_view sentence;
};

TEST(HeadSet, ErrorsNameTheColumn) {
  const BadText table[] = {
      {"entropy <", 9, "expected a number, found the end"},
      {"entropy", 7, "expected <, <=, >, >=, = or != after 'entropy'"},
      {"entropy == 1", 9, "expected a number, found '= 1'"},
      {"entropi<1", 0, "unknown metric 'entropi' (did you mean entropy?)"},
      {"L0H1 | L0H9", 7, "expected a head with layers 0-2 and heads 0-3"},
      {"L0G2", 0, "KV heads 0-1"},
      {"L0H1 L0H2", 5, "expected '|', '&' or the end"},
      {"L0H1,", 5, "found the end"},
      {",", 0, "expected a head"},
      {"L0", 2, "expected H or G"},
      {"4", 1, "expected '.'"},
      {"0.1x", 3, "expected the end of the head's name"},
      {"(L0H1", 5, "expected ')'"},
      {"top(entropy)", 11, "expected ','"},
      {"top(entropy, 0)", 13, "expected a count of heads"},
      {"top(entropy, 101%)", 13, "up to 100%"},
      {"top(entropy, 1.5)", 13, "expected a count of heads"},
      {"L0H0 | role=sink", 7, "unknown role 'sink'; there are: induction, retrieval"},
      {"set:min", 0, "unknown set 'min' (did you mean mine?)"},
      {"entropy<nan", 8, "expected a number"},
      {"99999999999.0", 0, "expected a number or *"},
  };
  for (const auto& [text, column, sentence] : table) {
    try {
      parse_heads(text, facts(), "--heads");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::invalid_argument);
      EXPECT_EQ(error.context().field, "--heads");
      EXPECT_EQ(error.context().offset, column) << text << ": " << error.what();
      EXPECT_THAT(error.what(), HasSubstr(std::string(sentence))) << text;
    }
  }
}

TEST(HeadSet, DeepNestingIsRefused) {
  const std::string deep = std::string(10000, '(') + "L0H0" + std::string(10000, ')');
  EXPECT_THROW(HeadExpression::parse(deep), Error);
  EXPECT_THROW(HeadExpression::parse(std::string(10000, '!') + "L0H0"), Error);
}

TEST(HeadSet, SaysWhatIsMissing) {
  HeadFacts bare;
  bare.grid = {2, 2, 1};
  EXPECT_TRUE(HeadExpression::parse("L0H0 | 1.*").only_ids());
  EXPECT_FALSE(HeadExpression::parse("L0H0 & entropy<1").only_ids());
  EXPECT_EQ(to_text(bare.grid, parse_heads("layer=1", bare)), "L1H*");
  for (const char* text : {"entropy<1", "role=sink", "top(entropy, 1)"}) try {
      parse_heads(text, bare);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("there is no")) << text;
    }
}

TEST(HeadSet, OneHead) {
  EXPECT_EQ(parse_one_head("top(entropy, 1)", facts()), (HeadId{2, 2}));
  EXPECT_THROW(parse_one_head("L0H*", facts()), Error);
  EXPECT_THROW(parse_one_head("", facts()), Error);
}

}  // namespace
}  // namespace headlight::heads
