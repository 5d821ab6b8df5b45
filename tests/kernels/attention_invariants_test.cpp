// Properties that hold for any input: what rows, columns and blocks must agree on.

#include <cmath>

#include <gtest/gtest.h>

#include "attention_case.h"

namespace headlight::kernels::testing {
namespace {

class AttentionInvariants : public ::testing::TestWithParam<CpuTier> {
 protected:
  void SetUp() override { set_cpu_tier(GetParam()); }
  void TearDown() override { set_cpu_tier(detected_cpu_tier()); }
};

/// A case of every kind of mask, with and without null logits.
std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> all;
  for (const bool null_logits : {false, true})
    for (const int kind : {0, 1, 2, 3}) {
      AttentionCase c = random_case({211, 211, 4, 2, 32, 3.0f}, 10 + static_cast<std::uint32_t>(kind));
      if (kind == 1) c.in.mask.window = 33;
      if (kind == 2) c.in.mask.first_key = 40;
      if (kind == 3) c.in.mask.causal = false;
      if (null_logits) c.null_logits = {1.0f, -3.0f, 0.0f, 8.0f};
      c.plan.block_edge = 16;
      c.attach();
      all.push_back(std::move(c));
      all.back().attach();
    }
  return all;
}

struct HeadSums {
  double received = 0, null_mass = 0, first = 0, dist1 = 0, positions = 0, weighted_columns = 0, valid = 0;
};

HeadSums head_sums(const AttentionCase& c, const AttentionOutputs& got, std::int64_t h) {
  HeadSums sums;
  const std::int64_t n = c.in.num_queries;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(h * n + i);
    const double real = got.lse[at] == -INFINITY ? 0.0 : 1.0 - static_cast<double>(got.null_mass[at]);
    sums.valid += got.lse[at] != -INFINITY;
    sums.null_mass += static_cast<double>(got.null_mass[at]);
    sums.first += static_cast<double>(got.first[at]);
    sums.dist1 += static_cast<double>(got.dist1[at]);
    sums.positions += static_cast<double>(i) * real;
  }
  for (std::int64_t j = 0; j < c.in.num_keys; ++j) {
    const double received = static_cast<double>(got.received[static_cast<std::size_t>(h * c.in.num_keys + j)]);
    sums.received += received;
    sums.weighted_columns += static_cast<double>(j) * received;
  }
  return sums;
}

TEST_P(AttentionInvariants, RowsAndColumnsMeet) {
  for (const AttentionCase& c : cases()) {
    const AttentionOutputs got = run_attention(c, 2);
    for (std::int64_t h = 0; h < 4; ++h) {
      const HeadSums sums = head_sums(c, got, h);
      EXPECT_NEAR(sums.received, sums.valid - sums.null_mass, 1e-4 * 211) << c.name;
      const auto first = static_cast<std::size_t>(h * 211 + c.in.mask.first_key);
      EXPECT_NEAR(sums.first, got.received[first], 1e-4 * (1.0 + sums.first)) << c.name;
      if (c.in.mask.causal) {
        EXPECT_NEAR(sums.dist1, sums.positions - sums.weighted_columns, 1e-4 * (1.0 + sums.positions)) << c.name;
      }
    }
  }
}

TEST_P(AttentionInvariants, BlocksSumToRowsAndColumns) {
  for (const AttentionCase& c : cases()) {
    const AttentionOutputs got = run_attention(c, 2);
    const std::int64_t blocks = got.block_count;
    for (std::int64_t h = 0; h < 4; ++h)
      for (std::int64_t b = 0; b < blocks; ++b) {
        double row_sum = 0, column_sum = 0, rows = 0, columns = 0;
        for (std::int64_t x = 0; x < blocks; ++x) {
          row_sum += static_cast<double>(got.block_sum[static_cast<std::size_t>((h * blocks + b) * blocks + x)]);
          column_sum += static_cast<double>(got.block_sum[static_cast<std::size_t>((h * blocks + x) * blocks + b)]);
        }
        for (std::int64_t i = b * 16; i < std::min<std::int64_t>(211, b * 16 + 16); ++i) {
          const auto at = static_cast<std::size_t>(h * 211 + i);
          if (got.lse[at] != -INFINITY) rows += 1.0 - static_cast<double>(got.null_mass[at]);
          columns += static_cast<double>(got.received[at]);
        }
        EXPECT_NEAR(row_sum, rows, 1e-4 * 16) << c.name;
        EXPECT_NEAR(column_sum, columns, 1e-4 * (1.0 + columns)) << c.name;
      }
  }
}

TEST_P(AttentionInvariants, RangesOfRowStatistics) {
  for (const AttentionCase& c : cases()) {
    const AttentionOutputs got = run_attention(c, 2);
    for (std::int64_t n = 0; n < 4 * 211; ++n) {
      const auto at = static_cast<std::size_t>(n);
      const auto keys = static_cast<double>(c.in.mask.visible(n % 211, 211).size());
      if (keys == 0) continue;
      const double outcomes = keys + (c.null_logits.empty() ? 0.0 : 1.0);
      EXPECT_GE(got.entropy[at], 0.0f);
      EXPECT_LE(got.entropy[at], std::log(outcomes) + 1e-5);
      EXPECT_GE(got.pmax[at] + 1e-6f, (1.0f - got.null_mass[at]) / static_cast<float>(keys));
      // 1 / sum A^2 lies between 1 / pmax and e^H; without the sum the outer two remain.
      if (c.null_logits.empty()) {
        EXPECT_LE(1.0 / static_cast<double>(got.pmax[at]), std::exp(static_cast<double>(got.entropy[at])) * (1 + 1e-4));
      }
      double groups = 0.0;
      for (int g = 0; g < 4; ++g) groups += static_cast<double>(got.group_mass[at * 4 + static_cast<std::size_t>(g)]);
      EXPECT_LE(groups, 1.0 - static_cast<double>(got.null_mass[at]) + 1e-5);
    }
  }
}

TEST_P(AttentionInvariants, GroupsThatCoverAllKeysSumToOne) {
  AttentionCase c = random_case({211, 211, 4, 2, 32, 3.0f}, 20);
  for (std::size_t j = 0; j < c.groups.size(); ++j) c.groups[j] = static_cast<std::uint8_t>(j / 50 % 4);
  c.null_logits = {1.0f, -3.0f, 0.0f, 8.0f};
  c.attach();
  const AttentionOutputs got = run_attention(c, 2);
  for (std::size_t n = 0; n < 4 * 211; ++n) {
    double groups = 0.0;
    for (std::size_t g = 0; g < 4; ++g) groups += static_cast<double>(got.group_mass[n * 4 + g]);
    EXPECT_NEAR(groups, 1.0 - static_cast<double>(got.null_mass[n]), 1e-5);
  }
}

TEST_P(AttentionInvariants, DuplicatedHeadsAgree) {
  AttentionCase one = random_case({100, 100, 1, 1, 32}, 30);
  AttentionCase four = one;
  four.in.num_heads = 4;
  four.in.q_stride = 4 * 32;
  four.q.assign(100 * 4 * 32, 0.0f);
  for (std::int64_t i = 0; i < 100; ++i)
    for (int h = 0; h < 4; ++h) std::copy_n(one.q.begin() + i * one.in.q_stride, 32, four.q.begin() + (i * 4 + h) * 32);
  one.attach();
  four.attach();
  const AttentionOutputs a = run_attention(one, 1), b = run_attention(four, 1);
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t i = 0; i < 100; ++i) {
      EXPECT_EQ(a.lse[i], b.lse[h * 100 + i]);
      EXPECT_EQ(a.entropy[i], b.entropy[h * 100 + i]);
      EXPECT_NEAR(a.received[i], b.received[h * 100 + i], 2e-6 * (1.0f + a.received[i]));
    }
}

/// q gains a component along a direction in which all keys are equal: every score of a row moves by the same amount.
TEST_P(AttentionInvariants, ConstantPerRowMovesOnlyLse) {
  AttentionCase base = random_case({90, 90, 1, 1, 32}, 40);
  for (std::int64_t j = 0; j < 90; ++j) base.k[static_cast<std::size_t>(j * 32)] = 1.0f;
  AttentionCase moved = base;
  for (std::int64_t i = 0; i < 90; ++i) moved.q[static_cast<std::size_t>(i * base.in.q_stride)] += 4.0f / base.in.scale;
  base.attach();
  moved.attach();
  const AttentionOutputs a = run_attention(base, 1), b = run_attention(moved, 1);
  for (std::size_t i = 0; i < 90; ++i) {
    EXPECT_NEAR(b.lse[i] - a.lse[i], 4.0f, 1e-5f);
    EXPECT_NEAR(a.entropy[i], b.entropy[i], 1e-5f);
    EXPECT_NEAR(a.pmax[i], b.pmax[i], 1e-5f);
    EXPECT_NEAR(a.dist1[i], b.dist1[i], 1e-4f);
  }
}

TEST_P(AttentionInvariants, WorkspaceStaysWithinItsEstimate) {
  for (const std::int64_t queries : {1, 40, 700}) {
    AttentionCase c = random_case({queries, 700, 9, 3, 64}, 50);
    ThreadPool pool(2);
    AttentionWorkspace workspace;
    AttentionOutputs got(c, queries);
    const AttentionStatistics to = got.statistics(c, 0, queries);
    attention(pool, workspace, c.in, got.out_ihd.data(), 9 * 64, &c.plan, &to);
    EXPECT_GT(workspace.bytes(), 0u);
    EXPECT_LE(workspace.bytes(), attention_workspace_bytes(queries, 700, 9, 3, 64, 2, true));
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, AttentionInvariants, ::testing::ValuesIn(available_cpu_tiers()),
                         [](const auto& tier) { return std::string(to_string(tier.param)); });

}  // namespace
}  // namespace headlight::kernels::testing
