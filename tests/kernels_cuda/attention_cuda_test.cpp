// Attention on the device against its float64 definition. Skipped, by name, where there is no device.

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels_cuda/device_case.h"

namespace headlight::cuda {
namespace {

using kernels::testing::AttentionCase;
using kernels::testing::CaseShape;
using kernels::testing::random_case;
using testing::DeviceCase;

constexpr std::uint32_t kSeed = 20261123;
constexpr float kInf = std::numeric_limits<float>::infinity();

class CudaAttention : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    table_ = testing::usable_table(why);
    if (table_ == nullptr) GTEST_SKIP() << why;
    stream_ = table_->open_stream(0);
  }
  void TearDown() override {
    if (table_ != nullptr) table_->close_stream(stream_);
  }
  /// Every tier that the device has; a tier hands what it does not cover to the portable one.
  void check(const AttentionCase& c, std::initializer_list<DType> dtypes = {DType::bf16, DType::f16}) {
    for (const DType dtype : dtypes)
      for (const AttentionTier tier : {AttentionTier::portable, AttentionTier::automatic}) {
        if (tier == AttentionTier::automatic && stream_.major != 9) continue;
        DeviceCase device(c, dtype);
        device.tier = tier;
        device.host.name += tier == AttentionTier::portable ? " portable" : " automatic";
        device.check(stream_);
      }
  }

  const CudaKernels* table_ = nullptr;
  Stream stream_;
};

TEST_F(CudaAttention, EveryLength) {
  for (const std::int64_t n : {1, 2, 31, 63, 64, 65, 127, 128, 129, 257, 1000})
    check(random_case({.num_queries = n, .num_keys = n, .num_heads = 2, .num_kv_heads = 1, .head_dim = 64}, kSeed));
}

TEST_F(CudaAttention, ALongPrompt) {
  AttentionCase c = random_case({.num_queries = 4097, .num_keys = 4097, .head_dim = 64}, kSeed);
  c.plan.block_edge = 32;
  check(c, {DType::bf16});
}

TEST_F(CudaAttention, EveryHeadSize) {
  for (const int dim : {8, 32, 64, 72, 80, 96, 112, 128, 192, 256}) {
    AttentionCase c =
        random_case({.num_queries = 200, .num_keys = 200, .num_heads = 4, .num_kv_heads = 2, .head_dim = dim}, kSeed);
    c.plan.block_edge = 16;
    check(c);
  }
}

TEST_F(CudaAttention, EveryGrouping) {
  for (const auto& [heads, kv_heads] : {std::pair{7, 7}, {7, 1}, {8, 2}, {32, 4}, {14, 2}})
    check(random_case(
        {.num_queries = 150, .num_keys = 150, .num_heads = heads, .num_kv_heads = kv_heads, .head_dim = 64}, kSeed));
}

TEST_F(CudaAttention, Windows) {
  for (const std::int64_t window : {1, 2, 63, 64, 65, 128, 200, 5000}) {
    AttentionCase c =
        random_case({.num_queries = 300, .num_keys = 300, .num_heads = 2, .num_kv_heads = 2, .head_dim = 64}, kSeed);
    c.in.mask.window = window;
    c.plan.block_edge = 32;
    check(c);
    c.in.mask.causal = false;
    check(c);
  }
}

TEST_F(CudaAttention, Bidirectional) {
  AttentionCase c =
      random_case({.num_queries = 190, .num_keys = 190, .num_heads = 3, .num_kv_heads = 3, .head_dim = 80}, kSeed);
  c.in.mask.causal = false;
  c.plan.block_edge = 64;
  check(c);
}

TEST_F(CudaAttention, LeftPadding) {
  for (const std::int64_t first : {1, 17, 64, 150, 299}) {
    AttentionCase c =
        random_case({.num_queries = 300, .num_keys = 300, .num_heads = 2, .num_kv_heads = 1, .head_dim = 64}, kSeed);
    c.in.mask.first_key = first;
    c.plan.block_edge = 8;
    check(c);
  }
}

TEST_F(CudaAttention, ChunksOfAPrompt) {
  for (const auto& [queries, keys] :
       {std::pair<std::int64_t, std::int64_t>{1, 300}, {5, 129}, {64, 333}, {100, 164}, {130, 1000}}) {
    AttentionCase c = random_case(
        {.num_queries = queries, .num_keys = keys, .num_heads = 4, .num_kv_heads = 2, .head_dim = 128}, kSeed);
    c.plan.block_edge = 16;
    check(c);
  }
}

TEST_F(CudaAttention, SoftCapAndLearnedSinks) {
  AttentionCase c = random_case(
      {.num_queries = 170, .num_keys = 170, .num_heads = 4, .num_kv_heads = 2, .head_dim = 96, .spread = 6.0f}, kSeed);
  c.in.soft_cap = 20.0f;
  check(c);
  c.null_logits = {-3.0f, 0.0f, 4.0f, 15.0f};
  c.attach();
  check(c);
  c.in.soft_cap = 0.0f;
  c.in.mask.first_key = 30;
  check(c);
}

TEST_F(CudaAttention, EveryBlockEdge) {
  for (const std::int64_t edge : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512})
    for (const int dim : {64, 256}) {
      AttentionCase c =
          random_case({.num_queries = 700, .num_keys = 700, .num_heads = 2, .num_kv_heads = 1, .head_dim = dim}, kSeed);
      c.plan.block_edge = edge;
      check(c, {DType::bf16});
      c = random_case({.num_queries = 90, .num_keys = 700, .num_heads = 1, .num_kv_heads = 1, .head_dim = dim}, kSeed);
      c.plan.block_edge = edge;
      check(c, {DType::f16});
    }
}

TEST_F(CudaAttention, SizesOfSinksWindowsAndTails) {
  for (const std::int64_t size : {0, 1, 64, 100, 5000}) {
    AttentionCase c =
        random_case({.num_queries = 260, .num_keys = 260, .num_heads = 2, .num_kv_heads = 2, .head_dim = 64}, kSeed);
    c.plan.sink_size = size;
    c.plan.local_window = size;
    c.plan.tail_rows = {260 - std::min<std::int64_t>(size, 260), 260};
    c.plan.num_groups = size == 0 ? 0 : 4;
    check(c);
  }
}

TEST_F(CudaAttention, SharpRowsAndLargeScores) {
  check(random_case(
      {.num_queries = 250, .num_keys = 250, .num_heads = 2, .num_kv_heads = 1, .head_dim = 64, .spread = 8.0f}, kSeed));
  AttentionCase c = random_case(
      {.num_queries = 200, .num_keys = 200, .num_heads = 2, .num_kv_heads = 1, .head_dim = 128, .spread = 100.0f},
      kSeed);
  for (float& x : c.k) x *= 100.0f;  // scores up to +-1e4 and beyond
  c.in.scale = 0.05f;
  c.attach();
  check(c);
}

TEST_F(CudaAttention, UniformRows) {
  AttentionCase c = random_case({.num_queries = 500, .num_keys = 500, .head_dim = 64}, kSeed);
  std::fill(c.k.begin(), c.k.end(), 0.5f);
  c.attach();
  const DeviceCase device(c, DType::bf16);
  device.check(stream_);
  const auto got = device.run(stream_);
  for (std::size_t i = 0; i < 500; ++i) EXPECT_NEAR(got.entropy[i], std::log(static_cast<double>(i + 1)), 1e-5) << i;
}

// A NaN in one key reaches the rows that see it, and no other; an infinity those where the score is not -inf.
TEST_F(CudaAttention, NotANumberStaysInItsRows) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf}) {
    AttentionCase c =
        random_case({.num_queries = 200, .num_keys = 200, .num_heads = 2, .num_kv_heads = 2, .head_dim = 64}, kSeed);
    c.in.mask.window = 70;
    c.k[100 * 64 + 5] = bad;  // key 100 of KV head 0
    c.attach();
    const DeviceCase device(c, DType::bf16);
    const auto got = device.run(stream_);
    const auto want = kernels::attention_reference(device.host.in, nullptr);
    for (std::size_t i = 0; i < 200; ++i) {
      const bool reached = std::isnan(want.lse_hi[i]);
      EXPECT_TRUE(reached == (i >= 100 && i < 170) || bad == kInf) << "row " << i;
      EXPECT_EQ(std::isnan(got.lse[i]), reached) << "row " << i;
      EXPECT_EQ(std::isnan(got.out_ihd[i * 128]), reached) << "row " << i;
      EXPECT_FALSE(std::isnan(got.lse[200 + i]) || std::isnan(got.out_ihd[i * 128 + 64])) << "head 1 row " << i;
    }
  }
}

// Where every visible score is NaN there is no maximum; the row is not one without keys.
TEST_F(CudaAttention, RowsOfNothingButNotANumberAreNotEmpty) {
  for (const AttentionTier tier : {AttentionTier::portable, AttentionTier::automatic})
    for (const int dim : {64, 128}) {
      AttentionCase c =
          random_case({.num_queries = 150, .num_keys = 150, .num_heads = 1, .num_kv_heads = 1, .head_dim = dim}, kSeed);
      c.k[3] = std::numeric_limits<float>::quiet_NaN();  // row 0 sees key 0 only
      c.q[static_cast<std::size_t>(77 * c.in.q_stride)] = std::numeric_limits<float>::quiet_NaN();  // all of row 77
      c.in.mask.window = 40;
      c.attach();
      DeviceCase device(c, DType::bf16);
      device.tier = tier;
      const auto got = device.run(stream_);
      for (std::size_t i = 0; i < 150; ++i) {
        const bool reached = i < 40 || i == 77;
        EXPECT_EQ(std::isnan(got.lse[i]), reached) << "D " << dim << " row " << i;
        EXPECT_EQ(std::isnan(got.pmax[i]), reached) << "D " << dim << " row " << i;
        EXPECT_EQ(std::isnan(got.out_ihd[i * static_cast<std::size_t>(dim)]), reached) << "D " << dim << " row " << i;
      }
    }
}

TEST_F(CudaAttention, EveryRunGivesTheSameBits) {
  AttentionCase c =
      random_case({.num_queries = 777, .num_keys = 777, .num_heads = 8, .num_kv_heads = 2, .head_dim = 128}, kSeed);
  c.plan.block_edge = 256;
  const DeviceCase device(c, DType::bf16);
  const auto first = device.run(stream_);
  for (int repeat = 0; repeat < 50; ++repeat) ASSERT_TRUE(device.run(stream_).same_bits(first)) << repeat;
}

TEST_F(CudaAttention, StatisticsDoNotChangeTheOutput) {
  for (const int dim : {64, 128, 256}) {
    const DeviceCase device(
        random_case({.num_queries = 333, .num_keys = 333, .num_heads = 4, .num_kv_heads = 2, .head_dim = dim}, kSeed),
        DType::bf16);
    EXPECT_EQ(device.run_plain(stream_), device.run(stream_).out_ihd);
  }
}

// Keys are split among blocks: every head size, grouping, edge of a split and of a block, windows, padding, soft cap,
// sinks.
TEST_F(CudaAttention, ASingleQuery) {
  for (const std::int64_t keys : {256, 257, 1000, 4097, 20000})
    for (const auto& [heads, groups, dim] : {std::tuple{1, 1, 64}, std::tuple{8, 2, 128}, std::tuple{16, 1, 80},
                                             std::tuple{6, 3, 96}, std::tuple{4, 4, 32}}) {
      AttentionCase c = random_case(
          {.num_queries = 1, .num_keys = keys, .num_heads = heads, .num_kv_heads = groups, .head_dim = dim}, kSeed);
      for (const std::int64_t edge : {0, 4, 64, 512}) {
        c.plan.block_edge = edge;
        c.attach();
        check(c);
      }
      c.plan.block_edge = 16;
      c.in.soft_cap = 20.0f;
      c.null_logits.assign(static_cast<std::size_t>(heads), 1.5f);
      c.in.mask.window = 300;
      c.attach();
      check(c);
      c.in.mask.window = 0;
      c.in.mask.first_key = 77;
      c.attach();
      check(c);
    }
}

TEST_F(CudaAttention, ASingleQueryGivesTheSameBitsWithStatistics) {
  const DeviceCase device(
      random_case({.num_queries = 1, .num_keys = 3000, .num_heads = 8, .num_kv_heads = 2, .head_dim = 128}, kSeed),
      DType::bf16);
  const auto first = device.run(stream_);
  EXPECT_EQ(device.run_plain(stream_), first.out_ihd);
  for (int repeat = 0; repeat < 10; ++repeat) ASSERT_TRUE(device.run(stream_).same_bits(first)) << repeat;
}

TEST_F(CudaAttention, MapRows) {
  AttentionCase c =
      random_case({.num_queries = 150, .num_keys = 230, .num_heads = 4, .num_kv_heads = 2, .head_dim = 80}, kSeed);
  c.in.mask.window = 100;
  c.null_logits = {0.0f, 1.0f, -2.0f, 5.0f};
  c.attach();
  const DeviceCase device(c, DType::f16);
  const std::vector<MapRow> rows = {{0, 0}, {3, 149}, {2, 77}};
  const auto attn = device.map_rows(stream_, rows);
  const auto reference = kernels::attention_reference(device.host.in, nullptr);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::int64_t position = device.host.in.query_start + rows[r].row;
    const auto keys = c.in.mask.visible(position, 230);
    const auto scores = kernels::attention_reference_scores(device.host.in, rows[r].head, rows[r].row, keys);
    const double lse = reference.lse_hi[static_cast<std::size_t>(rows[r].head * 150 + rows[r].row)];
    for (std::int64_t j = 0; j < 230; ++j) {
      const bool visible = j >= keys.begin && j < keys.end;
      const double want = visible ? std::exp(scores[static_cast<std::size_t>(j - keys.begin)] - lse) : 0.0;
      EXPECT_NEAR(attn[r * 230 + static_cast<std::size_t>(j)], want, 1e-5) << r << " " << j;
    }
  }
}

}  // namespace
}  // namespace headlight::cuda
