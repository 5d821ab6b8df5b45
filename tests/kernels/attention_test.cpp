// Attention against its float64 twin: every tier, awkward sizes, every kind of mask, bit equality over threads.

#include <cmath>
#include <cstring>
#include <functional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "attention_case.h"

namespace headlight::kernels::testing {
namespace {

constexpr std::int64_t kSizes[] = {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129};

class AttentionTest : public ::testing::TestWithParam<CpuTier> {
 protected:
  void SetUp() override { set_cpu_tier(GetParam()); }
  void TearDown() override { set_cpu_tier(detected_cpu_tier()); }

  /// Against the twin; the same bits with 1, 2 and 3 threads, and the same output without statistics.
  void check(const AttentionCase& c) {
    const AttentionOutputs one = run_attention(c, 1);
    expect_close(c, one, attention_reference(c.in, &c.plan));
    EXPECT_TRUE(one.same_bits(run_attention(c, 2))) << c.name << ": 2 threads";
    EXPECT_TRUE(one.same_bits(run_attention(c, 3))) << c.name << ": 3 threads";
    const std::vector<float> plain = run_plain(c, 2);
    EXPECT_EQ(0, std::memcmp(plain.data(), one.out_ihd.data(), plain.size() * sizeof(float)))
        << c.name << ": output without statistics";
  }
};

TEST_P(AttentionTest, CausalSizes) {
  for (const std::int64_t n : kSizes) {
    AttentionCase c = random_case({n, n, 3, 1, 64}, 100 + static_cast<std::uint32_t>(n));
    c.plan.block_edge = n > 64 ? 8 : 1;
    check(c);
  }
}

TEST_P(AttentionTest, HeadDimensions) {
  for (const int dim : {16, 24, 64, 80, 96, 128, 256}) check(random_case({67, 67, 4, 2, dim}, 200 + dim));
}

TEST_P(AttentionTest, HeadGroups) {
  check(random_case({50, 50, 1, 1, 32}, 301));
  check(random_case({50, 50, 9, 3, 32}, 302));
  check(random_case({50, 50, 8, 2, 32}, 303));
  check(random_case({50, 50, 7, 1, 32}, 304));
  check(random_case({50, 50, 40, 2, 32}, 305));  // more heads per KV head than a unit takes
  check(random_case({50, 50, 7, 3, 32}, 306));   // groups of unequal size
}

TEST_P(AttentionTest, LongPrompt) {
  AttentionCase c = random_case({1000, 1000, 3, 1, 64}, 401);
  c.plan.block_edge = 4;
  c.plan.local_window = 256;
  c.plan.tail_rows = {900, 1000};
  check(c);
}

TEST_P(AttentionTest, Windows) {
  for (const std::int64_t window : {1, 5, 64})
    for (const bool causal : {true, false}) {
      AttentionCase c = random_case({333, 333, 3, 1, 32}, 500 + static_cast<std::uint32_t>(window));
      c.in.mask.window = window;
      c.in.mask.causal = causal;
      c.plan.block_edge = 64;
      c.name += fmt::format(" window {} causal {}", window, causal);
      check(c);
    }
}

TEST_P(AttentionTest, Bidirectional) {
  for (const std::int64_t n : {1, 33, 197}) {
    AttentionCase c = random_case({n, n, 3, 3, 64}, 600 + static_cast<std::uint32_t>(n));
    c.in.mask.causal = false;
    c.plan.block_edge = 16;
    check(c);
  }
}

TEST_P(AttentionTest, LeftPadding) {
  for (const std::int64_t first : {1, 17, 100, 130})
    for (const bool causal : {true, false}) {
      AttentionCase c = random_case({130, 130, 2, 1, 32}, 700 + static_cast<std::uint32_t>(first));
      c.in.mask.first_key = first;
      c.in.mask.causal = causal;
      c.in.mask.window = first == 17 ? 40 : 0;
      c.null_logits = {0.3f, -0.2f};
      c.attach();
      c.plan.block_edge = 32;
      c.name += fmt::format(" padding {} causal {}", first, causal);
      check(c);
      const AttentionOutputs got = run_attention(c, 2);
      for (std::int64_t i = 0; i < first; ++i) {  // fully masked rows
        const auto n = static_cast<std::size_t>(i);
        EXPECT_EQ(got.lse[n], -INFINITY);
        EXPECT_EQ(got.jmax[n], -1);
        EXPECT_EQ(got.out_ihd[n * 64], 0.0f);
        for (const auto* values : got.float_rows()) {
          if (values == &got.lse) continue;
          EXPECT_EQ((*values)[n], 0.0f);
        }
      }
    }
}

TEST_P(AttentionTest, SoftCapAndNullLogits) {
  AttentionCase c = random_case({150, 150, 4, 2, 64, 8.0f}, 801);
  c.in.soft_cap = 5.0f;
  check(c);
  c.null_logits = {2.0f, -1.0f, 40.0f, -INFINITY};
  c.attach();
  c.name += " null logits";
  check(c);
  c.in.soft_cap = 0.0f;
  c.null_logits[2] = 12.0f;  // further above the keys than their errors allow for the relative limit
  check(c);
}

TEST_P(AttentionTest, FewQueries) {
  for (const std::int64_t queries : {1, 2, 5})
    for (const std::int64_t keys : {5, 64, 1025, 2500})
      for (const int dim : {24, 64}) {
        AttentionCase c = random_case({queries, keys, 6, 2, dim}, 900 + static_cast<std::uint32_t>(keys));
        c.plan.block_edge = 128;
        check(c);
        c.in.mask.window = 700;
        c.null_logits.assign(6, 0.5f);
        c.attach();
        c.name += " window 700, null";
        check(c);
        c.store_as_bf16();
        c.name += " bf16";
        check(c);
      }
}

TEST_P(AttentionTest, Bf16Keys) {
  for (const int dim : {24, 64, 128}) {
    AttentionCase c = random_case({140, 140, 4, 2, dim}, 1000 + dim);
    c.store_as_bf16();
    check(c);
  }
}

TEST_P(AttentionTest, NearOneHot) {
  check(random_case({129, 129, 3, 1, 64, 8.0f}, 1101));
  check(random_case({1, 129, 3, 1, 64, 8.0f}, 1102));
}

TEST_P(AttentionTest, HugeScores) {
  AttentionCase c = random_case({129, 129, 3, 1, 64, 2500.0f}, 1201);
  check(c);
  c.in.scale = -c.in.scale;
  c.name += " negative scale";
  check(c);
}

TEST_P(AttentionTest, LargeBlocksThatAreNoPowerOfTwo) {
  AttentionCase c = random_case({300, 300, 2, 1, 16}, 1301);
  for (const std::int64_t edge : {1, 2, 3, 12, 48, 100, 128, 299, 300, 301}) {
    c.plan.block_edge = edge;
    c.name = fmt::format("block edge {}", edge);
    check(c);
  }
}

TEST_P(AttentionTest, LongRowsOnce) {
  if (GetParam() == CpuTier::scalar) GTEST_SKIP() << "same code on other registers";
  AttentionCase c = random_case({40, 4097, 3, 1, 64}, 1401);
  c.plan.block_edge = 32;
  check(c);
  if (GetParam() == detected_cpu_tier()) check(random_case({4097, 4097, 1, 1, 16}, 1402));
}

TEST_P(AttentionTest, ManyGroups) {
  AttentionCase c = random_case({90, 90, 2, 1, 16}, 1501);
  c.plan.num_groups = 16;
  for (std::size_t j = 0; j < c.groups.size(); ++j) c.groups[j] = static_cast<std::uint8_t>(j * 7 % 19);
  check(c);
  c.plan.num_groups = 0;
  check(c);
}

/// Chunks of a prompt, and decode steps after it, give the statistics of one pass within the limits.
TEST_P(AttentionTest, ChunkedPrefillAccumulatesColumns) {
  AttentionCase c = random_case({300, 300, 6, 2, 32}, 1601);
  c.plan.block_edge = 16;
  const AttentionReference want = attention_reference(c.in, &c.plan);
  ThreadPool pool(2);
  AttentionWorkspace workspace;
  AttentionOutputs got(c, 300);
  const std::int64_t out_stride = 6 * 32, bounds[] = {0, 128, 250, 297, 298, 299, 300};
  for (std::size_t n = 0; n + 1 < std::size(bounds); ++n) {
    const AttentionInputs part = c.rows(bounds[n], bounds[n + 1]);
    const AttentionStatistics to = got.statistics(c, bounds[n], 300);
    attention(pool, workspace, part, got.out_ihd.data() + bounds[n] * out_stride, out_stride, &c.plan, &to);
  }
  expect_close(c, got, want);
}

INSTANTIATE_TEST_SUITE_P(Tiers, AttentionTest, ::testing::ValuesIn(available_cpu_tiers()),
                         [](const auto& tier) { return std::string(to_string(tier.param)); });

}  // namespace
}  // namespace headlight::kernels::testing
