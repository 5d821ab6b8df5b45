// What the host refuses and decides before a launch.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels_cuda/attention_plan.h"

#include "base/error.h"

namespace headlight::cuda {
namespace {

alignas(16) char some_memory[16];

AttentionInputs good() {
  AttentionInputs in;
  in.num_queries = in.num_keys = 100;
  in.num_heads = 8;
  in.num_kv_heads = 2;
  in.head_dim = 64;
  in.q_ihd = in.k_gjd = in.v_gjd = some_memory;
  in.q_stride = 512;
  in.kv_row_stride = 64;
  in.kv_stride = 6400;
  return in;
}

void refuse(const AttentionInputs& in, const char* says) {
  try {
    make_params(in, nullptr, nullptr);
    ADD_FAILURE() << "accepted; expected: " << says;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_THAT(error.what(), ::testing::HasSubstr(says));
  }
}

TEST(AttentionPlan, PadsHeads) {
  EXPECT_EQ(kernel_head_dim(8), 64);
  EXPECT_EQ(kernel_head_dim(64), 64);
  EXPECT_EQ(kernel_head_dim(72), 80);
  EXPECT_EQ(kernel_head_dim(96), 96);
  EXPECT_EQ(kernel_head_dim(112), 128);
  EXPECT_EQ(kernel_head_dim(192), 256);
  for (const int dim : {0, -8, 12, 264}) EXPECT_THROW(kernel_head_dim(dim), Error) << dim;
}

TEST(AttentionPlan, RefusesWhatTheKernelsDoNotTake) {
  AttentionInputs in = good();
  in.q_stride = 516;
  refuse(in, "q_stride");
  in = good();
  in.k_gjd = some_memory + 2;
  refuse(in, "aligned");
  in = good();
  in.dtype = DType::f32;
  refuse(in, "bf16 or f16, found f32");
  in = good();
  in.num_kv_heads = 9;
  refuse(in, "KV heads");
  in = good();
  in.num_keys = std::int64_t{1} << 31;
  refuse(in, "keys");
  in = good();
  in.scale = 0.0f;
  refuse(in, "scale");
  in = good();
  in.num_queries = 0;
  refuse(in, "queries");
}

TEST(AttentionPlan, RefusesOutputsThatPairsDoNotFit) {
  AttentionParams p = make_params(good(), nullptr, nullptr);
  set_output(p, some_memory, 512);
  EXPECT_EQ(p.out_stride, 512);
  EXPECT_THROW(set_output(p, nullptr, 512), Error);
  EXPECT_THROW(set_output(p, some_memory + 2, 512), Error);
  EXPECT_THROW(set_output(p, some_memory, 513), Error);
  EXPECT_THROW(set_output(p, some_memory, 510), Error);
}

TEST(AttentionPlan, RefusesPlans) {
  kernels::AttentionStatistics statistics;
  kernels::AttentionStatisticsPlan plan;
  EXPECT_THROW(make_params(good(), &plan, nullptr), Error);
  plan.block_edge = 24;
  EXPECT_THROW(make_params(good(), &plan, &statistics), Error);
  plan.block_edge = 0;
  plan.num_groups = 17;
  EXPECT_THROW(make_params(good(), &plan, &statistics), Error);
  plan.num_groups = 16;
  EXPECT_EQ(make_params(good(), &plan, &statistics).num_groups, 16);
}

TEST(AttentionPlan, WorkspaceOnlyForWideBlocks) {
  AttentionInputs in = good();
  kernels::AttentionStatisticsPlan plan;
  plan.block_edge = 128;
  EXPECT_EQ(workspace_bytes(in, plan), 0u);
  plan.block_edge = 256;
  in.num_keys = in.num_queries = 1000;
  EXPECT_EQ(workspace_bytes(in, plan), 2u * 8 * 4 * 8 * sizeof(float));  // heads, block rows, key tiles
}

TEST(AttentionPlan, TiersCoverWhatTheySay) {
  AttentionParams p = make_params(good(), nullptr, nullptr);
  EXPECT_TRUE(takes_hopper(p, AttentionPass::columns, AttentionTier::automatic, 9));
  EXPECT_TRUE(takes_hopper(p, AttentionPass::columns, AttentionTier::hopper, 9));
  EXPECT_FALSE(takes_hopper(p, AttentionPass::columns, AttentionTier::portable, 9));
  EXPECT_FALSE(takes_hopper(p, AttentionPass::columns, AttentionTier::automatic, 8));
  EXPECT_FALSE(takes_hopper(p, AttentionPass::columns, AttentionTier::automatic, 10));
  EXPECT_THROW(takes_hopper(p, AttentionPass::columns, AttentionTier::hopper, 8), Error);
  p.block_edge = 8;
  EXPECT_FALSE(takes_hopper(p, AttentionPass::columns, AttentionTier::automatic, 9));
  EXPECT_TRUE(takes_hopper(p, AttentionPass::rows, AttentionTier::automatic, 9));
  p.block_edge = 16;
  p.head_dim = 96;
  EXPECT_FALSE(takes_hopper(p, AttentionPass::columns, AttentionTier::automatic, 9));
}

TEST(AttentionPlan, UnitsAreBaseTwo) {
  AttentionInputs in = good();
  in.scale = 0.125f;
  EXPECT_FLOAT_EQ(make_params(in, nullptr, nullptr).unit_log2, 0.125f * 1.44269504f);
  in.soft_cap = 50.0f;
  const AttentionParams p = make_params(in, nullptr, nullptr);
  EXPECT_EQ(p.unit_log2, 1.0f);
  EXPECT_FLOAT_EQ(p.cap_log2, 50.0f * 1.44269504f);
  EXPECT_FLOAT_EQ(p.cap_inner, 0.125f / 50.0f);
}

}  // namespace
}  // namespace headlight::cuda
