// The worked examples of the head scores that are not about tokens.

#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/roles/budgets.h"
#include "analysis/roles/logit_attribution.h"
#include "analysis/roles/mean_qk.h"
#include "analysis/roles/reading_range.h"
#include "analysis/roles/role_rules.h"
#include "analysis/roles/sentences.h"
#include "analysis/roles/sparse_pattern.h"
#include "analysis/roles/tracker.h"
#include "tests/support/refusal.h"

namespace headlight::analysis {
namespace {

using ::testing::ElementsAre;
using Values = std::vector<double>;

std::vector<float> causal(std::int64_t n, const std::function<double(std::int64_t i, std::int64_t j)>& entry) {
  std::vector<float> values(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j <= i; ++j) values[static_cast<std::size_t>(i * n + j)] = static_cast<float>(entry(i, j));
  return values;
}

TEST(LayerBudgets, ByErrorWithinLimits) {
  EXPECT_THAT(layer_budgets(Values{0.5, 0.3, 0.2}, {.capacity = 100}), ElementsAre(134, 93, 73));
  EXPECT_THAT(layer_budgets(Values{0.7, 0.2, 0.1}, {.capacity = 100, .maximum = 150}), ElementsAre(150, 86, 64));
  EXPECT_THAT(layer_budgets(Values{0.25, 0.25, 0.25, 0.25}, {.capacity = 77}), ElementsAre(77, 77, 77, 77));
  const auto even = layer_budgets(Values{1 / 3.0, 1 / 3.0, 1 / 3.0}, {.capacity = 50});
  EXPECT_EQ(std::accumulate(even.begin(), even.end(), std::int64_t{0}), 150);
  testing_support::expect_refused([] { layer_budgets(Values{1.0}, {.capacity = 10}); }, Errc::invalid_argument, {"32"});
}

TEST(HeadBudgets, SharedPoolAndFloor) {
  const Values scores = {0.6, 0.2, 0.1, 0.1};
  EXPECT_THAT(head_budgets(scores, {.capacity = 128}), ElementsAre(218, 79, 44, 44));
  const auto repaired = head_budgets(scores, {.capacity = 128, .repair = true});
  EXPECT_EQ(std::accumulate(repaired.begin(), repaired.end(), std::int64_t{0}), 384);
  testing_support::expect_refused(
      [] {
        head_budgets(Values{0, 0}, {.capacity = 64});
      },
      Errc::invalid_argument, {"positive"});
}

TEST(MeanQk, AreaOfCumulativeAttention) {
  EXPECT_DOUBLE_EQ(cumulative_area(Values{0.25, 0.25, 0.25, 0.25}), 0.625);
  EXPECT_DOUBLE_EQ(cumulative_area(Values{1, 0, 0, 0}), 1.0);
  EXPECT_DOUBLE_EQ(cumulative_area(Values{0, 0, 0, 1}), 0.25);
}

TEST(MeanQk, PositionAlone) {
  const RotaryFrequencies rotary{.inv_freq = {1.0, 0.01}};
  Values x = {1, 2, 3, 4};
  rotate(x, rotary, 5);
  rotate_back(x, rotary, 5);
  for (int d = 0; d < 4; ++d) EXPECT_NEAR(x[static_cast<std::size_t>(d)], d + 1, 1e-12);
  const Values none(4, 0.0), q = {0, 40, 0, 0}, away = {0, -40, 0, 0};
  EXPECT_NEAR(mean_qk_score(none, q, rotary, 1, 100), 101.0 / 200, 1e-12);
  EXPECT_LT(mean_qk_score(q, q, rotary, 1, 100), 0.1);     // looks at itself
  EXPECT_GT(mean_qk_score(q, away, rotary, 1, 100), 0.9);  // looks as far as it can
}

TEST(SparsePattern, MasksRecoverWhatTheyCover) {
  constexpr std::int64_t n = 128, first = 64;
  const std::int64_t offset = 40;
  const auto dense =
      causal(n, [&](std::int64_t i, std::int64_t j) { return j == std::max<std::int64_t>(0, i - offset); });
  const AttentionRows map{n, first, n - first, std::span(dense).subspan(first * n)};
  EXPECT_NEAR(recovered_a_shape(map, 1, offset), 1.0, 1e-9);
  EXPECT_NEAR(recovered_a_shape(map, 0, offset - 1), 0.0, 1e-9);
  EXPECT_NEAR(recovered_vertical_slash(map, choose_vertical_slash(map, 0, 31)), 1.0, 1e-9);
  EXPECT_NEAR(recovered_vertical_slash(map, choose_vertical_slash(map, 0, 30)), 0.0, 1e-9);  // all 30 are forced
}

TEST(SparsePattern, MoreKeysRecoverMore) {
  constexpr std::int64_t n = 96;
  const auto dense = causal(n, [](std::int64_t i, std::int64_t j) {
    return (1.0 + static_cast<double>((i * 7 + j * 13) % 11)) / (6.0 * static_cast<double>(i + 1));
  });
  const AttentionRows map{n, 0, n, dense};
  double last = 0;
  for (const std::int64_t count : {0, 10, 40, 60, 96}) {
    const double recovered = recovered_vertical_slash(map, choose_vertical_slash(map, count, 0));
    EXPECT_GE(recovered, last);
    last = recovered;
  }
  double all = 0;
  for (const float a : dense) all += static_cast<double>(a) / n;
  EXPECT_NEAR(last, all, 1e-6);
  EXPECT_NEAR(recovered_vertical_slash(map, choose_vertical_slash(map, 0, n)), all, 1e-6);
  EXPECT_NEAR(recovered_blocks(map, Values(9, 0.0), 32, 3), all, 1e-6);
}

TEST(SparsePattern, ClassOfPureHeads) {
  constexpr std::int64_t n = 1024, head_dim = 8;
  // Block b of keys carries the direction b mod 8; queries of block a ask for the block (a / 2).
  std::vector<float> q(n * head_dim), k(n * head_dim);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t block = i / 32;
    k[static_cast<std::size_t>(i * head_dim + block % 8)] = 1.0f + static_cast<float>(block / 8);
    q[static_cast<std::size_t>(i * head_dim + (block / 2) % 8)] = block / 2 < 8 ? -1.0f : 1.0f;
  }
  const auto classify = [&](const std::function<double(std::int64_t, std::int64_t)>& entry) {
    const auto dense = causal(n, entry);
    return sparse_pattern({n, n / 2, n / 2, std::span(dense).subspan(n / 2 * n)}, q, k, head_dim).best;
  };
  EXPECT_EQ(classify([](std::int64_t i, std::int64_t j) { return j == i - 60 || (i < 60 && j == 0) ? 1.0 : 0.0; }),
            SparseClass::a_shape);
  EXPECT_EQ(classify([](std::int64_t i, std::int64_t j) { return j == i - 300 || (i < 300 && j == 0) ? 1.0 : 0.0; }),
            SparseClass::vertical_slash);
  EXPECT_EQ(classify([](std::int64_t i, std::int64_t) { return 1.0 / static_cast<double>(i + 1); }),
            SparseClass::dense);
}

TEST(Tracker, ImportantHeadsAreAboveTheSpread) {
  const std::vector<Values> normal = {{0.8}, {0.7}, {0.9}}, attack = {{0.2}, {0.3}, {0.25}};
  EXPECT_NEAR(important_heads(normal, attack, 0).margin_h[0], 0.55, 1e-12);
  const auto four = important_heads(normal, attack, 4), five = important_heads(normal, attack, 5);
  EXPECT_NEAR(four.margin_h[0], 0.0601, 1e-4);
  EXPECT_EQ(four.important_h[0], 1);
  EXPECT_EQ(five.important_h[0], 0);
  const Values focus_h = {0.4, 0.6, 0.9};
  EXPECT_NEAR(focus_score(focus_h, std::vector<std::uint8_t>{1, 1, 0}), 0.5, 1e-12);
  EXPECT_TRUE(std::isnan(focus_score(focus_h, std::vector<std::uint8_t>{0, 0, 0})));
}

TEST(Tracker, Focus) {
  const std::vector<float> row = {0.2f, 0.3f, 0.1f, 0.4f};
  EXPECT_NEAR(focus(row, {1, 2}, {2, 3}), 0.75, 1e-6);
  EXPECT_EQ(focus(std::vector<float>(4), {1, 2}, {2, 3}), 0.0);
  testing_support::expect_refused([&] { focus(row, {1, 2}, {3, 3}); }, Errc::invalid_argument, {"data"});
  EXPECT_DOUBLE_EQ(auroc(Values{0.9, 0.8}, Values{0.1, 0.8}), 0.875);
  EXPECT_DOUBLE_EQ(auroc(Values{0.9, 0.8}, Values{0.1, 0.7}), 1.0);
}

TEST(Sentences, KurtosisDoesNotSeeScale) {
  EXPECT_NEAR(kurtosis(Values{0.01, 0.01, 0.01, 0.01, 0.09}), 0.25, 1e-9);
  EXPECT_NEAR(kurtosis(Values{0.02, 0.02, 0.02, 0.02, 0.021}), 0.25, 1e-9);
  EXPECT_NEAR(kurtosis(Values{1, 2, 3, 4, 5}), -1.3, 1e-9);
  EXPECT_TRUE(std::isnan(kurtosis(Values{1, 1, 1})));
}

TEST(Sentences, VerticalScoresOfAReceivedSentence) {
  constexpr std::int64_t n = 24, size = 2, m = n / size;
  const auto dense = causal(n, [](std::int64_t i, std::int64_t j) { return i < 6 ? i == j : j == 4 ? 1.0 : 0.0; });
  std::vector<TokenSpan> sentences;
  for (std::int64_t s = 0; s < m; ++s) sentences.push_back({s * size, (s + 1) * size});
  const AttentionMap map{n, dense};
  const auto v = vertical_scores(sentence_matrix(map, sentences), m);
  EXPECT_NEAR(v[2], 0.5, 1e-9);  // token 4 of the tokens 4, 5
  EXPECT_NEAR(v[3], 0.0, 1e-9);
  for (std::size_t b = static_cast<std::size_t>(m) - 4; b < static_cast<std::size_t>(m); ++b)
    EXPECT_TRUE(std::isnan(v[b]));
  const auto score = receiver_score(map, sentences);
  EXPECT_GT(score.kurtosis, 2.0);
  EXPECT_TRUE(score.above_floor);
  const auto ranked = vertical_scores(sentence_matrix(map, sentences), m, {.control_depth = true});
  EXPECT_GT(ranked[2], ranked[3]);
}

TEST(Sentences, SuppressionEffect) {
  const std::vector<float> base = {3, 1, 0, -2}, other = {0, 3, 1, -2};
  EXPECT_NEAR(suppression_effect(base, base), std::log(1e-9), 1e-6);
  double p[4], q[4], sum_p = 0, sum_q = 0, divergence = 0;
  for (std::size_t v = 0; v < 4; ++v) {
    sum_p += p[v] = std::exp(base[v] / 0.6);
    sum_q += q[v] = std::exp(other[v] / 0.6);
  }
  for (std::size_t v = 0; v < 4; ++v) divergence += p[v] / sum_p * std::log(p[v] / sum_p / (q[v] / sum_q));
  EXPECT_NEAR(suppression_effect(base, other), std::log(divergence + 1e-9), 1e-3);
  Values effect = {9, 9, 9, 1, 9, 9, 1, 3, 9};
  center_rows(effect, 3);
  EXPECT_NEAR(effect[3], 0, 1e-12);
  EXPECT_NEAR(effect[6], -1, 1e-12);
  EXPECT_NEAR(effect[7], 1, 1e-12);
  EXPECT_TRUE(std::isnan(effect[0]) && std::isnan(effect[8]));
}

TEST(ReadingRange, WindowedDistanceAndSpan) {
  const double row[] = {0.1, 0.2, 0.3, 0.4};
  const auto dense = causal(4, [&](std::int64_t i, std::int64_t j) { return i == 3 ? row[j] : i == j ? 1.0 : 0.0; });
  EXPECT_NEAR(windowed_distance({4, dense}, 2).back(), 0.9, 1e-6);
  EXPECT_NEAR(windowed_distance({4, dense}, 10).back(), 1.0, 1e-6);
  EXPECT_NEAR(mean_span({4, dense}, false), 0.25, 1e-6);
  EXPECT_NEAR(mean_span({4, dense}, true), 0.7 / 0.9 / 3, 1e-6);  // row 0 keeps nothing
}

// The first token and 20 tokens twice, heads that are exact.
TEST(ReadingRange, SpansOfPureHeads) {
  constexpr std::int64_t n = 41;
  const auto mean = [](const Values& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  };
  const auto check = [&](const std::vector<float>& dense, double span, double windowed) {
    EXPECT_NEAR(mean_span({n, dense}, false), span, 5e-3);
    EXPECT_NEAR(mean(windowed_distance({n, dense})), windowed, 5e-3);
  };
  check(causal(n, [](std::int64_t i, std::int64_t j) { return j == std::max<std::int64_t>(0, i - 1); }), 0.98, 0.98);
  check(causal(n, [](std::int64_t, std::int64_t j) { return j == 0; }), 20.0, 8.66);
  check(causal(n, [](std::int64_t i, std::int64_t) { return 1.0 / static_cast<double>(i + 1); }), 10.0, 6.27);
  EXPECT_NEAR(
      mean_span({n, causal(n, [](std::int64_t i, std::int64_t j) { return j == (i > 20 ? i - 19 : 0); })}, false),
      14.39, 5e-3);
}

TEST(ReadingRange, FutureInfluenceAndPeaks) {
  const auto dense = causal(100, [](std::int64_t i, std::int64_t j) { return i >= 30 ? j == 20 : i == j; });
  const auto f = future_influence({100, dense});
  EXPECT_NEAR(f[20], 1.0, 1e-9);
  EXPECT_NEAR(f[25], 0.0, 1e-9);
  EXPECT_TRUE(std::isnan(f[95]));
  EXPECT_THAT(largest_positions(f, 0.02), ElementsAre(20));
  EXPECT_THAT(peaks(Values{0, 1, 0.8, 0.9, 0, 2, 0}), ElementsAre(1, 5));
  EXPECT_THAT(steps_of(Values{1, 4, 2}), ElementsAre(3, 2));
  const std::vector<std::int64_t> plans = {10, 50}, anchors = {13, 90};
  EXPECT_NEAR(coupling(plans, anchors, 100).hits, 0.5, 1e-12);
  EXPECT_NEAR(coupling(plans, anchors, 100).expected, 1 - std::pow(0.98, 4), 1e-12);
  const auto ranges = split_by_span(Values{5, 1, NAN, 3, 9, 7, 2, 8, 4, 6, 10}, 0.3);
  EXPECT_EQ(ranges[1], ReadingRange::local);
  EXPECT_EQ(ranges[10], ReadingRange::global);
  EXPECT_EQ(ranges[2], ReadingRange::middle);
  EXPECT_EQ(std::count(ranges.begin(), ranges.end(), ReadingRange::local), 3);
}

TEST(RoleRules, FirstRuleThatFits) {
  const std::map<std::string, HeadValues> scores = {{"retrieval", {0.1, 0.0, 0.0, NAN}},
                                                    {"induction", {0.9, 0.0, 0.1, 0.0}},
                                                    {"duplicate-token", {0.0, 0.9, 0.0, 0.0}},
                                                    {"current-token", {0.0, 0.6, 0.1, 0.0}},
                                                    {"semantic-retrieval", {0.9, 0.5, 0.0, NAN}},
                                                    {"local-16", {0.1, 0.1, 0.95, 0.0}},
                                                    {"output-share", {1, 1, 1e-5, 1}},
                                                    {"tracker-margin", {0.1, -0.1, 0.0, NAN}}};
  const auto roles = assign_roles(scores, Values{0, 0, 64, 0});
  EXPECT_EQ(roles[0].primary, "retrieval");
  EXPECT_THAT(roles[0].labels, ElementsAre("retrieval", "induction", "semantic-retrieval", "tracker-important"));
  EXPECT_THAT(roles[1].labels, ElementsAre("duplicate", "current", "semantic-retrieval"));
  EXPECT_THAT(roles[2].labels, ElementsAre("local", "dead", "windowed"));
  EXPECT_THAT(roles[3].labels, ElementsAre("mixed"));
  EXPECT_EQ(assign_roles(scores, Values{0, 0, 0, 0}, {.retrieval = 0.2})[0].primary, "induction");
  EXPECT_THAT(streaming_policy(scores, 1, 4, 2), ElementsAre("full", "stream"));
}

TEST(NameMovers, AddLookAndCopy) {
  // Of 40 heads two are among the largest 5 %: 0 does all three, 1 does not look; 2 does all, but adds less.
  Values attribution(40, 0.01), at_answer(40, 0.0), copies(40, 1.0);
  attribution[0] = 3, attribution[1] = 5, attribution[2] = 2;
  at_answer[0] = at_answer[2] = 0.5;
  const auto movers = name_movers(attribution, at_answer, copies);
  EXPECT_EQ(movers[0], 1.0);
  EXPECT_EQ(std::accumulate(movers.begin(), movers.end(), 0.0), 1.0);
  copies[0] = 0.49;
  EXPECT_EQ(name_movers(attribution, at_answer, copies)[0], 0.0);
  EXPECT_EQ(name_movers(Values{-1, -2}, Values{1, 1}, Values{1, 1}), (Values{0, 0})) << "what takes away moves nothing";
  EXPECT_EQ(rank_of(Values{1, 3, 3, 2}, 2), 1u);
  EXPECT_EQ(rank_of(Values{0, 0, 0}, 0), 0u);
}

}  // namespace
}  // namespace headlight::analysis
