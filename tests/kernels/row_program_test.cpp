// Row programs: worked examples of single rows, and whole calls against the float64 twin on every tier.

#include "kernels/row_program.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "attention_case.h"

namespace headlight::kernels::testing {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr KeyRange kAllRows{0, 1 << 30};
const std::vector<KeyRun> kNoRuns;

RowStep step_of(RowOp op, const std::vector<KeyRun>& runs, std::vector<float> constants = {}) {
  RowStep step;
  step.op = op;
  step.rows = kAllRows;
  step.runs = runs.data();
  step.num_runs = static_cast<std::int64_t>(runs.size());
  std::copy(constants.begin(), constants.end(), step.constants);
  step.seed = 7;
  return step;
}

/// A row of weights as the kernel treats it: through logits for steps on scores, in place for those on weights.
std::vector<double> changed(const std::vector<double>& attn_j, const RowStep& step) {
  const RowProgram program{&step, 1};
  const KeyRange keys{0, static_cast<std::int64_t>(attn_j.size())};
  std::vector<float> s;
  for (const double a : attn_j) s.push_back(static_cast<float>(acts_on_scores(step.op) ? std::log(a) : a));
  change_row_scores(program, keys.end - 1, keys, s.data(), 1.0f);
  if (acts_on_scores(step.op)) {
    double sum = 0.0;
    for (float& x : s) sum += std::exp(static_cast<double>(x));
    for (float& x : s) x = static_cast<float>(std::exp(static_cast<double>(x)) / sum);
  }
  change_row_weights(program, keys.end - 1, keys, s.data());
  return {s.begin(), s.end()};
}

void expect_row(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t j = 0; j < want.size(); ++j) EXPECT_NEAR(got[j], want[j], 2e-6) << "key " << j;
}

TEST(RowProgram, MovesFromSinksLikeTheWorkedExample) {
  const std::vector<double> row = {.40, .04, .40, .06, .05, .05};
  const std::vector<KeyRun> one = {{2, 3, 1}}, two = {{1, 3, 1}};
  const std::vector<KeyRun> one_kept = {{0, 1, 2}, {2, 3, 1}}, two_kept = {{0, 1, 2}, {1, 3, 1}};
  expect_row(changed(row, step_of(RowOp::move_from_sinks, one, {.4f})), {.56, .056, .16, .084, .07, .07});
  expect_row(changed(row, step_of(RowOp::move_from_sinks, one_kept, {.4f})), {.40, .088, .16, .132, .11, .11});
  expect_row(changed(row, step_of(RowOp::move_from_sinks, two, {.4f})),
             {.588571, .016, .16, .088286, .073571, .073571});
  expect_row(changed(row, step_of(RowOp::move_from_sinks, two_kept, {.4f})), {.40, .016, .16, .159, .1325, .1325});
  const std::vector<KeyRun> everything = {{0, 6, 1}};
  expect_row(changed(row, step_of(RowOp::move_from_sinks, everything, {.4f})), row);
}

TEST(RowProgram, MovesToTargetsBehindItsGate) {
  const std::vector<double> row = {.30, .05, .20, .10, .15, .12, .08};
  const std::vector<KeyRun> runs = {{0, 1, 1}, {1, 2, 3}, {2, 3, 2}, {3, 5, 3}};
  expect_row(changed(row, step_of(RowOp::move_to_targets, runs, {.4f, .2f, .5f})),
             {.18, .083333, .12, .166667, .25, .12, .08});
  expect_row(changed(row, step_of(RowOp::move_to_targets, runs, {.4f, .2f, .8f})), row);
  expect_row(changed(row, step_of(RowOp::move_to_targets, runs, {.4f, .6f, .5f})), row);
  // Both borders count as inside; exact in binary.
  double factor[4];
  const RowStep border = step_of(RowOp::move_to_targets, runs, {.5f, .25f, .5f});
  EXPECT_TRUE(group_factors(border, {.75, 0, .125, .125}, factor));
  EXPECT_FALSE(group_factors(border, {.75, 0, .126, .124}, factor));
}

TEST(RowProgram, BiasIsReweightingAndRenormalising) {
  const std::vector<double> row = {.60, .20, .15, .05};
  const std::vector<KeyRun> twice = {{0, 1, std::log(2.0f)}}, half = {{0, 1, std::log(.5f)}}, never = {{0, 1, kMasked}};
  expect_row(changed(row, step_of(RowOp::bias, twice)), {.75, .125, .09375, .03125});
  expect_row(changed(row, step_of(RowOp::bias, half)), {.428571, .285714, .214286, .071429});
  expect_row(changed(row, step_of(RowOp::bias, never)), {0, .5, .375, .125});
  const std::vector<KeyRun> emphasis = {{0, 2, std::log(.01f)}, {3, 4, std::log(.01f)}};
  expect_row(changed({.4, .3, .2, .1}, step_of(RowOp::bias, emphasis)), {.019231, .014423, .961538, .004808});
}

TEST(RowProgram, ZeroWeightDoesNotRenormalise) {
  const std::vector<KeyRun> first = {{0, 1, 1}};
  expect_row(changed({.6, .2, .15, .05}, step_of(RowOp::weigh_groups, first, {1, 0})), {0, .2, .15, .05});
}

TEST(RowProgram, TemperatureAndMixtures) {
  const std::vector<double> row = {.5, .3, .2};
  const std::vector<KeyRun> none;
  expect_row(changed(row, step_of(RowOp::temperature, none, {1.5f})), {.582160, .270564, .147276});
  expect_row(changed(row, step_of(RowOp::temperature, none, {1 / 1.5f})), {.443604, .315571, .240825});
  expect_row(changed(row, step_of(RowOp::temperature, none, {1.769473f})), {.623978, .252705, .123318});
  expect_row(changed(row, step_of(RowOp::mix_self, none, {.25f})), {.375, .225, .4});
  expect_row(changed(row, step_of(RowOp::mix_reversed, none, {1})), {0, .4, .6});
  expect_row(changed(row, step_of(RowOp::mix_uniform, none, {1})), {1 / 3., 1 / 3., 1 / 3.});
  expect_row(changed({.25, .25, .25, .25}, step_of(RowOp::mix_reversed, none, {1})), {.25, .25, .25, .25});
  const auto shuffled = changed(row, step_of(RowOp::mix_shuffled, none, {1}));
  EXPECT_TRUE(std::is_permutation(shuffled.begin(), shuffled.end(), row.begin(),
                                  [](double a, double b) { return std::abs(a - b) < 1e-6; }));
}

TEST(RowProgram, RaisesScoresByTheirMagnitude) {
  const RowStep target = step_of(RowOp::raise, kNoRuns);
  const std::vector<KeyRun> both = {{1, 2, .7f}, {2, 3, .3f}};
  RowStep step = target;
  step.runs = both.data();
  step.num_runs = 2;
  std::vector<float> s = {1, .5f, -1};
  change_row_scores({&step, 1}, 2, {0, 3}, s.data(), 1.0f);
  EXPECT_NEAR(s[1], .85, 1e-6);
  EXPECT_NEAR(s[2], -.7, 1e-6);  // a negative score rises too: it shrinks
  double sum = 0.0;
  for (const float x : s) sum += std::exp(static_cast<double>(x));
  const double expected[] = {.489382, .421215, .089402};
  for (std::size_t j = 0; j < 3; ++j) EXPECT_NEAR(std::exp(static_cast<double>(s[j])) / sum, expected[j], 1e-6);
}

TEST(RowProgram, SetsTheMassesOfGroups) {
  const std::vector<KeyRun> image = {{1, 3, 1}};
  expect_row(changed({.6, .1, .2, .1}, step_of(RowOp::set_masses, image, {.5f, .5f, 0, 1})),
             {.428571, .166667, .333333, .071429});
  // A group without weight gets nothing, the others get all.
  const std::vector<KeyRun> nowhere = {{7, 9, 1}};
  expect_row(changed({.6, .4}, step_of(RowOp::set_masses, nowhere, {.5f, .5f, 0, 1})), {.6, .4});
}

TEST(RowProgram, ShiftsTheGazeAndKeepsTheBalance) {
  const std::vector<KeyRun> runs = {{1, 2, 1}, {2, 3, std::exp(1.0f)}, {3, 4, -1}};
  const std::vector<double> row = {.4, .1, .2, .2, .1};
  const auto got = changed(row, step_of(RowOp::shift_gaze, runs));
  expect_row(got, {.254330, .063582, .345670, .272835, .063582});
  EXPECT_NEAR(got[3] / (got[1] + got[2]), .2 / .3, 1e-6);
  const std::vector<KeyRun> constant = {{1, 3, 1}, {3, 4, -1}};
  expect_row(changed(row, step_of(RowOp::shift_gaze, constant)), row);
}

TEST(RowProgram, SwapsTwoKeys) {
  const std::vector<KeyRun> keys = {{0, 1, 0}, {2, 3, 0}};
  const RowStep step = step_of(RowOp::swap_keys, keys);
  expect_row(changed({.5, .3, .2}, step), {.2, .3, .5});
  expect_row(changed(changed({.5, .3, .2}, step), step), {.5, .3, .2});
  expect_row(changed({.5, .5}, step), {.5, .5});  // the second key is not visible
}

std::vector<double> random_row(std::mt19937& random, std::int64_t n) {
  std::vector<double> row;
  double sum = 0.0;
  for (std::int64_t j = 0; j < n; ++j) sum += row.emplace_back(std::exponential_distribution<double>()(random));
  for (double& a : row) a /= sum;
  return row;
}

double sum_of(const std::vector<double>& row) {
  return std::accumulate(row.begin(), row.end(), 0.0);
}

TEST(RowProgram, RowsKeepTheirSum) {
  std::mt19937 random(11);
  const std::vector<KeyRun> biases = {{0, 1, 1.3f}, {2, 5, -2.0f}}, groups = {{0, 1, 2}, {1, 3, 1}, {3, 6, 3}},
                            gaze = {{1, 3, 2.5f}, {3, 5, -1}}, pair = {{0, 1, 0}, {4, 5, 0}};
  const std::vector<RowStep> steps = {step_of(RowOp::bias, biases),
                                      step_of(RowOp::raise, biases),
                                      step_of(RowOp::temperature, kNoRuns, {1.7f}),
                                      step_of(RowOp::move_from_sinks, groups, {.3f}),
                                      step_of(RowOp::move_to_targets, groups, {.6f, 0, 0}),
                                      step_of(RowOp::set_masses, groups, {.2f, .5f, .3f, .7f}),
                                      step_of(RowOp::shift_gaze, gaze),
                                      step_of(RowOp::swap_keys, pair),
                                      step_of(RowOp::mix_uniform, kNoRuns, {.4f}),
                                      step_of(RowOp::mix_reversed, kNoRuns, {.4f}),
                                      step_of(RowOp::mix_random, kNoRuns, {.4f}),
                                      step_of(RowOp::mix_shuffled, kNoRuns, {.4f}),
                                      step_of(RowOp::mix_self, kNoRuns, {.4f})};
  for (const std::int64_t n : {2, 3, 6, 64, 257}) {
    const std::vector<double> row = random_row(random, n);
    for (const RowStep& step : steps) EXPECT_NEAR(sum_of(changed(row, step)), 1.0, 1e-5) << to_string(step.op) << n;
    const std::vector<KeyRun> first = {{0, 1, 1}};
    EXPECT_NEAR(sum_of(changed(row, step_of(RowOp::weigh_groups, first, {1, 0}))), 1.0 - row[0], 1e-6);
  }
}

TEST(RowProgram, ABiasIsAWeightForEveryLength) {
  std::mt19937 random(12);
  for (std::int64_t n = 2; n <= 257; n += 15) {
    const std::vector<double> row = random_row(random, n);
    const std::int64_t key = n / 2;
    for (const double w : {0.05, 0.5, 3.0, 20.0}) {
      const std::vector<KeyRun> bias = {{key, key + 1, static_cast<float>(std::log(w))}};
      const auto got = changed(row, step_of(RowOp::bias, bias));
      const double a = row[static_cast<std::size_t>(key)], total = 1.0 + (w - 1.0) * a;
      for (std::int64_t j = 0; j < n; ++j)
        ASSERT_NEAR(got[static_cast<std::size_t>(j)], row[static_cast<std::size_t>(j)] * (j == key ? w : 1.0) / total,
                    1e-6);
    }
  }
}

double entropy_of(const std::vector<double>& row) {
  double h = 0.0;
  for (const double a : row) h -= a > 0.0 ? a * std::log(a) : 0.0;
  return h;
}

// gamma on the first key: the others keep their proportions, and the entropy has one maximum.
TEST(RowProgram, InvariantsOfTheFirstKey) {
  const std::vector<double> row = {.60, .20, .15, .05};
  double best = 0.0, best_gamma = 0.0, best_weight = 0.0;
  for (double gamma = 0.02; gamma < 5.0; gamma *= 1.002) {
    const std::vector<KeyRun> bias = {{0, 1, static_cast<float>(std::log(gamma))}};
    const auto got = changed(row, step_of(RowOp::bias, bias));
    EXPECT_NEAR(got[1] / got[2], row[1] / row[2], 1e-5);
    EXPECT_NEAR(got[3] / got[1], row[3] / row[1], 1e-5);
    if (entropy_of(got) <= best) continue;
    best = entropy_of(got);
    best_gamma = gamma;
    best_weight = got[0];
  }
  EXPECT_NEAR(best_weight, .274021, 1e-3);
  EXPECT_NEAR(best_gamma, .251634, 2e-3);
  const std::vector<KeyRun> twice = {{0, 1, std::log(2.0f)}}, half = {{0, 1, std::log(.5f)}};
  EXPECT_NEAR(entropy_of(row), 1.062738, 1e-6);
  EXPECT_NEAR(entropy_of(changed(row, step_of(RowOp::bias, twice))), .805914, 1e-5);
  EXPECT_NEAR(entropy_of(changed(row, step_of(RowOp::bias, half))), 1.239659, 1e-5);
}

// A larger key does not mean more weight: where its score is negative, it means less.
TEST(RowProgram, KeyScaleTurnsAroundWithTheSign) {
  const std::vector<KeyRun> first = {{0, 1, 2.0f}};
  const RowStep step = step_of(RowOp::scale_keys, first);
  for (const float score : {-1.0f, 1.0f}) {
    std::vector<float> s = {score, 0, 0};
    scale_row_keys({&step, 1}, 2, {0, 3}, s.data());
    EXPECT_EQ(s[0] < score, score < 0);
  }
}

TEST(RowProgram, LeavesARowAloneThatItWouldEmpty) {
  const std::vector<KeyRun> all = {{0, 9, kMasked}};
  expect_row(changed({.6, .4}, step_of(RowOp::bias, all)), {.6, .4});
  const std::vector<KeyRun> first = {{0, 1, kMasked}};
  expect_row(changed({1.0}, step_of(RowOp::bias, first)), {1.0});
  expect_row(changed({1.0}, step_of(RowOp::weigh_groups, first, {0, 0})), {1.0});
}

/// Programs for the heads of a case: every operation, some on part of the rows.
struct Programs {
  std::vector<std::vector<KeyRun>> runs;
  std::vector<std::vector<RowStep>> steps;
  std::vector<RowProgram> program_h;

  explicit Programs(AttentionCase& c) {
    runs = {{{0, 1, 1.0f}, {3, 5, -0.5f}, {20, 40, 0.25f}},
            {{0, 2, kMasked}, {7, 8, kMasked}},
            {{0, 1, 2}, {2, 4, 1}, {9, 30, 1}},
            {{0, 1, 1}, {1, 6, 3}, {6, 8, 2}, {8, 11, 3}},
            {{0, 3, -1.5f}},
            {{1, 4, 2.0f}, {4, 6, -1.0f}, {6, 9, 0.5f}},
            {{1, 2, 0}, {5, 6, 0}}};
    const auto step = [&](RowOp op, std::size_t run, std::vector<float> constants = {}) {
      RowStep out = step_of(op, runs[run], std::move(constants));
      return out;
    };
    const std::vector<KeyRun> nothing;
    std::vector<std::vector<RowStep>> kinds = {
        {},
        {step(RowOp::bias, 0)},
        {step(RowOp::temperature, 0, {1.7f}), step(RowOp::bias, 1)},
        {step(RowOp::move_from_sinks, 2, {.4f})},
        {step(RowOp::bias, 0), step(RowOp::move_to_targets, 3, {.6f, .0f, .1f})},
        {step(RowOp::weigh_groups, 2, {1, 0, .5f})},
        {step(RowOp::mix_uniform, 0, {.7f})},
        {step(RowOp::mix_reversed, 0, {1})},
        {step(RowOp::mix_random, 0, {.5f})},
        {step(RowOp::mix_shuffled, 0, {1})},
        {step(RowOp::raise, 0), step(RowOp::mix_self, 0, {.25f})},
        {step(RowOp::temperature, 0, {.8f}), step(RowOp::set_masses, 3, {.1f, .2f, .3f, .8f})},
        {step(RowOp::shift_gaze, 5)},
        {step(RowOp::bias, 0), step(RowOp::swap_keys, 6)},
        {step(RowOp::bias, 0), step(RowOp::scale_values, 4)},
        {step(RowOp::scale_keys, 4), step(RowOp::temperature, 0, {.5f}), step(RowOp::mix_self, 0, {1})},
    };
    for (int h = 0; h < c.in.num_heads; ++h) {
      steps.push_back(kinds[static_cast<std::size_t>(h) % kinds.size()]);
      if (h % 5 == 4)
        for (RowStep& s : steps.back()) s.rows = {c.in.query_start + c.in.num_queries / 3, kAllRows.end};
    }
    for (const auto& list : steps) program_h.push_back({list.data(), static_cast<std::int64_t>(list.size())});
    c.in.program_h = program_h.data();
  }
};

class RowProgramTiers : public ::testing::TestWithParam<CpuTier> {
 protected:
  void SetUp() override { set_cpu_tier(GetParam()); }
  void TearDown() override { set_cpu_tier(detected_cpu_tier()); }

  static void check(AttentionCase c) {
    c.attach();
    const Programs programs(c);
    const AttentionOutputs one = run_attention(c, 1);
    expect_close(c, one, attention_reference(c.in, &c.plan), 1e-5);
    EXPECT_TRUE(one.same_bits(run_attention(c, 3))) << c.name << ": 3 threads";
    const std::vector<float> plain = run_plain(c, 2);
    EXPECT_EQ(0, std::memcmp(plain.data(), one.out_ihd.data(), plain.size() * sizeof(float)))
        << c.name << ": output without statistics";
  }
};

TEST_P(RowProgramTiers, AgreesWithTheTwin) {
  for (const std::int64_t n : {1, 2, 3, 63, 64, 65, 129, 1000})
    check(random_case({n, n, 16, 4, 32}, 40 + static_cast<std::uint32_t>(n)));
}

TEST_P(RowProgramTiers, HeadGroupsWindowsCapsSinksAndPadding) {
  check(random_case({129, 129, 9, 3, 64}, 1));
  check(random_case({129, 129, 15, 5, 16}, 2));
  AttentionCase window = random_case({200, 200, 13, 3, 32}, 3), cap = window, sinks = window, padded = window;
  window.in.mask.window = 32;
  check(window);
  cap.in.soft_cap = 3.0f;
  check(cap);
  sinks.null_logits = {.5f, -1, 2, 0, 1, 1.5f, -2, 0, .3f, .1f, 4, -4, 1};
  check(sinks);
  padded.in.mask.first_key = 11;
  check(padded);
}

TEST_P(RowProgramTiers, FewRowsAfterALongCache) {
  for (const std::int64_t rows : {1, 3, 20}) check(random_case({rows, 2100, 13, 3, 32}, 60));
}

TEST_P(RowProgramTiers, AHeadWithoutStepsKeepsEveryBit) {
  AttentionCase c = random_case({150, 150, 12, 3, 32}, 8);
  c.attach();
  const AttentionOutputs base = run_attention(c, 2);
  const Programs programs(c);
  const AttentionOutputs got = run_attention(c, 2);
  const auto d = static_cast<std::size_t>(c.in.head_dim), width = static_cast<std::size_t>(c.in.num_heads) * d;
  for (std::size_t i = 0; i < 150; ++i)
    EXPECT_EQ(0, std::memcmp(&base.out_ihd[i * width], &got.out_ihd[i * width], d * sizeof(float))) << i;
  for (std::size_t i = 0; i < 150; ++i) EXPECT_EQ(base.entropy[i], got.entropy[i]);
}

TEST_P(RowProgramTiers, ScoresOfARowAreTheChangedOnes) {
  AttentionCase c = random_case({40, 40, 13, 3, 32}, 9);
  c.in.soft_cap = 5.0f;
  c.attach();
  const Programs programs(c);
  for (int h = 0; h < c.in.num_heads; ++h) {
    std::vector<float> got(40);
    attention_scores_row(c.in, h, 39, {0, 40}, got.data());
    const auto want = attention_reference_scores(c.in, h, 39, {0, 40});
    for (std::size_t j = 0; j < 40; ++j) {
      if (!std::isfinite(want[j]))
        EXPECT_EQ(static_cast<double>(got[j]), want[j]);
      else
        EXPECT_NEAR(got[j], want[j], 2e-5) << h << " " << j;
    }
  }
}

/// k copies of the first key and value, seen by every row, are the weight k + 1 on it.
TEST(RowProgram, IntegerWeightsAreCopiesOfTheKey) {
  for (const int gamma : {2, 3, 4}) {
    AttentionCase c = random_case({33, 33, 2, 1, 16}, 77);
    c.attach();
    const std::vector<KeyRun> run = {{0, 1, std::log(static_cast<float>(gamma))}};
    const RowStep step = step_of(RowOp::bias, run);
    const std::vector<RowProgram> both(2, RowProgram{&step, 1});
    c.in.program_h = both.data();
    const std::vector<float> biased = run_plain(c, 1);
    // Copies go before the first key: causal rows still see them all.
    AttentionCase copies = random_case({33, 33 + gamma - 1, 2, 1, 16}, 77);
    copies.q = c.q;
    copies.k.assign(static_cast<std::size_t>((33 + gamma - 1) * 16), 0.0f);
    copies.v = copies.k;
    for (int j = 0; j < 33 + gamma - 1; ++j)
      for (int d = 0; d < 16; ++d) {
        const int from = std::max(0, j - gamma + 1);
        copies.k[static_cast<std::size_t>(j * 16 + d)] = c.k[static_cast<std::size_t>(from * 16 + d)];
        copies.v[static_cast<std::size_t>(j * 16 + d)] = c.v[static_cast<std::size_t>(from * 16 + d)];
      }
    copies.in.kv_stride = (33 + gamma - 1) * 16;
    copies.attach();
    copies.in.program_h = nullptr;
    const std::vector<float> doubled = run_plain(copies, 1);
    // Row 0 sees one key and is left alone; there copies and original give the same output.
    for (std::size_t k = 0; k < biased.size(); ++k) EXPECT_NEAR(biased[k], doubled[k], 1e-5) << gamma << " " << k;
  }
}

/// One more dimension that every query has and only the first key fills is the same weight.
TEST(RowProgram, AWeightIsOneMoreDimension) {
  constexpr std::int64_t kRows = 33, kHeads = 2, kDim = 16, kWide = 24;
  for (const float gamma : {0.25f, 3.0f}) {
    AttentionCase c = random_case({kRows, kRows, kHeads, 1, kDim}, 78);
    c.in.q_stride = kHeads * kDim;
    const std::vector<KeyRun> run = {{0, 1, std::log(gamma)}};
    const RowStep step = step_of(RowOp::bias, run);
    const std::vector<RowProgram> both(kHeads, RowProgram{&step, 1});
    c.in.program_h = both.data();
    const std::vector<float> biased = run_plain(c, 1);
    AttentionCase wide = random_case({kRows, kRows, kHeads, 1, kWide}, 78);
    wide.in.q_stride = kHeads * kWide;
    const auto widen = [&](const std::vector<float>& from, std::vector<float>& to, std::size_t rows, float first,
                           float others) {
      for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t d = 0; d < kWide; ++d)
          to[row * kWide + d] = d < kDim ? from[row * kDim + d] : d > kDim ? 0.0f : row == 0 ? first : others;
    };
    widen(c.q, wide.q, kRows * kHeads, 1.0f, 1.0f);
    widen(c.k, wide.k, kRows, std::log(gamma) / c.in.scale, 0.0f);
    widen(c.v, wide.v, kRows, 0.0f, 0.0f);
    wide.attach();
    wide.in.scale = c.in.scale;
    const std::vector<float> extended = run_plain(wide, 1);
    for (std::size_t k = 0; k < biased.size(); ++k)
      EXPECT_NEAR(biased[k], extended[k / kDim * kWide + k % kDim], 1e-5) << gamma << " " << k;
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, RowProgramTiers, ::testing::ValuesIn(available_cpu_tiers()),
                         [](const auto& tier) { return std::string(to_string(tier.param)); });

}  // namespace
}  // namespace headlight::kernels::testing
