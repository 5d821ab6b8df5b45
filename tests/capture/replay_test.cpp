#include "core/capture/replay.h"

#include <cmath>
#include <functional>
#include <ostream>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/capture/dense_reference.h"

namespace headlight::capture {

void PrintTo(const TestShape& shape, std::ostream* out) {
  *out << shape.name;
}

namespace {

constexpr unsigned kSeed = 20240611;

std::vector<TestShape> shapes() {
  std::vector<TestShape> all;
  for (const std::int64_t rows : {1, 2, 31, 32, 33, 63, 64, 65, 1000})
    all.push_back({.name = "causal" + std::to_string(rows), .num_rows = rows, .head_dim = 16});
  all.push_back({.name = "gqa", .num_rows = 130, .num_heads = 6, .num_kv_heads = 2, .head_dim = 64, .scale = 0.125f});
  all.push_back({.name = "mqa_odd_dim", .num_rows = 70, .num_heads = 3, .num_kv_heads = 1, .head_dim = 7});
  all.push_back({.name = "window", .num_rows = 200, .head_dim = 16, .window = 33});
  all.push_back({.name = "window_of_one", .num_rows = 20, .head_dim = 16, .window = 1});
  all.push_back({.name = "bidirectional", .num_rows = 90, .num_heads = 2, .head_dim = 32, .causal = false});
  all.push_back({.name = "bidirectional_window", .num_rows = 90, .head_dim = 32, .causal = false, .window = 8});
  all.push_back({.name = "soft_cap", .num_rows = 90, .head_dim = 32, .soft_cap = 5.0f});
  all.push_back({.name = "null",
                 .num_rows = 90,
                 .num_heads = 2,
                 .num_kv_heads = 2,
                 .head_dim = 32,
                 .null_logit_h = {1.5f, -2.0f}});
  all.push_back({.name = "padding", .num_rows = 90, .head_dim = 32, .first_key = 37});
  all.push_back({.name = "everything",
                 .num_rows = 300,
                 .num_heads = 4,
                 .num_kv_heads = 2,
                 .head_dim = 128,
                 .window = 100,
                 .first_key = 11,
                 .scale = 0.088f,
                 .soft_cap = 20.0f,
                 .null_logit_h = {0.0f, 1.0f, -1.0f, 3.0f},
                 .num_prompt_tokens = 280,
                 .local_window = 16});
  all.push_back({.name = "all_padding", .num_rows = 10, .head_dim = 8, .first_key = 10});
  return all;
}

class Replay : public testing::TestWithParam<TestShape> {
 protected:
  Replay() : reference(GetParam()) {
    reference.fill_random(kSeed, 1.0f);
    reference.compute();
    write_capture(reference, {}, capture);
  }
  double tolerance(int h, std::int64_t i) const {
    const auto at = static_cast<std::size_t>(h * GetParam().num_rows + i);
    return 1e-5 + std::exp2(-21.0) * reference.score_absmax_hi[at];
  }

  DenseReference reference;
  MemoryCapture capture;
  ThreadPool pool{2};
};

TEST_P(Replay, EqualsTheDenseMapWithinThePromise) {
  const std::int64_t rows = GetParam().num_rows;
  for (int h = 0; h < GetParam().num_heads; ++h) {
    std::vector<float> out(static_cast<std::size_t>(rows * rows), -1.0f);
    replay_tile(capture, {0, 0, h}, {0, rows, 0, rows}, pool, out);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < rows; ++j) {
        const float found = out[static_cast<std::size_t>(i * rows + j)];
        if (!reference.visible(i, j)) {
          ASSERT_EQ(found, 0.0f) << h << " " << i << " " << j;
        } else {
          ASSERT_NEAR(found, reference.attn(h, i, j), tolerance(h, i))
              << h << " " << i << " " << j << " seed " << kSeed;
        }
      }
  }
}

TEST_P(Replay, AnyTileHasTheBitsOfTheWholeMap) {
  const std::int64_t rows = GetParam().num_rows;
  std::vector<float> whole(static_cast<std::size_t>(rows * rows));
  replay_tile(capture, {}, {0, rows, 0, rows}, pool, whole);
  std::mt19937 random(kSeed);
  ThreadPool other(1);
  for (int n = 0; n < 20; ++n) {
    const auto at = [&] { return static_cast<std::int64_t>(random() % static_cast<unsigned>(rows + 1)); };
    std::int64_t a = at(), b = at(), c = at(), d = at();
    const TileRange tile{std::min(a, b), std::max(a, b), std::min(c, d), std::max(c, d)};
    const std::int64_t cols = tile.col_end - tile.col_begin;
    std::vector<float> out(static_cast<std::size_t>((tile.row_end - tile.row_begin) * cols), -1.0f);
    replay_tile(capture, {}, tile, other, out);
    for (std::int64_t i = tile.row_begin; i < tile.row_end; ++i)
      for (std::int64_t j = tile.col_begin; j < tile.col_end; ++j)
        ASSERT_EQ(out[static_cast<std::size_t>((i - tile.row_begin) * cols + j - tile.col_begin)],
                  whole[static_cast<std::size_t>(i * rows + j)])
            << i << " " << j << " seed " << kSeed;
  }
}

TEST_P(Replay, PooledEqualsNaivePooling) {
  const std::int64_t rows = GetParam().num_rows;
  const TileRange tile{rows / 7, rows, 0, rows - rows / 5};
  const std::int64_t height = tile.row_end - tile.row_begin, width = tile.col_end - tile.col_begin;
  std::vector<float> map(static_cast<std::size_t>(height * width));
  replay_tile(capture, {}, tile, pool, map);
  const std::pair<std::int64_t, std::int64_t> pools[] = {{1, 1}, {2, 3}, {16, 16}, {17, 5}, {64, 1}, {2000, 2000}};
  for (const auto& [pool_rows, pool_cols] : pools) {
    const auto max = replay_pooled(capture, {}, tile, pool_rows, pool_cols, Pooling::max, pool);
    const auto mean = replay_pooled(capture, {}, tile, pool_rows, pool_cols, Pooling::mean, pool);
    const std::int64_t cols = (width + pool_cols - 1) / pool_cols;
    ASSERT_EQ(static_cast<std::int64_t>(max.size()), (height + pool_rows - 1) / pool_rows * cols);
    std::vector<double> sum(max.size()), count(max.size());
    std::vector<float> largest(max.size());
    for (std::int64_t i = 0; i < height; ++i)
      for (std::int64_t j = 0; j < width; ++j) {
        const auto cell = static_cast<std::size_t>(i / pool_rows * cols + j / pool_cols);
        const float value = map[static_cast<std::size_t>(i * width + j)];
        largest[cell] = std::max(largest[cell], value);
        sum[cell] += value;
        count[cell] += reference.visible(tile.row_begin + i, tile.col_begin + j) ? 1 : 0;
      }
    for (std::size_t cell = 0; cell < max.size(); ++cell) {
      ASSERT_EQ(max[cell], largest[cell]) << pool_rows << " x " << pool_cols << " cell " << cell;
      ASSERT_NEAR(mean[cell], count[cell] > 0 ? sum[cell] / count[cell] : 0.0, 1e-6) << cell;
    }
  }
}

TEST_P(Replay, OracleEqualsTheDenseStatistics) {
  const TestShape& shape = GetParam();
  const auto rows = static_cast<std::size_t>(shape.num_rows);
  for (int h = 0; h < shape.num_heads; ++h) {
    const HeadOracle oracle = recompute_head(capture, {0, 0, h}, 0, shape.num_rows, pool);
    const std::pair<const char*, const std::vector<double>*> all[] = {{"lse", &oracle.lse},
                                                                      {"entropy", &oracle.entropy},
                                                                      {"pmax", &oracle.pmax},
                                                                      {"first", &oracle.first},
                                                                      {"sink", &oracle.sink},
                                                                      {"local", &oracle.local},
                                                                      {"dist1", &oracle.dist1},
                                                                      {"dist2", &oracle.dist2},
                                                                      {"off0", &oracle.off0},
                                                                      {"off1", &oracle.off1},
                                                                      {"null_mass", &oracle.null_mass},
                                                                      {"received", &oracle.received},
                                                                      {"received_tail", &oracle.received_tail}};
    for (const auto& [id, found] : all) {
      ASSERT_EQ(found->size(), rows) << id;
      for (std::size_t i = 0; i < rows; ++i) {
        const double expected = reference.values(id)[static_cast<std::size_t>(h) * rows + i];
        if (std::isinf(expected)) {
          ASSERT_EQ((*found)[i], expected) << id << " " << i;
        } else {
          ASSERT_NEAR((*found)[i], expected, 1e-9 * (1.0 + std::abs(expected))) << id << " " << i << " seed " << kSeed;
        }
      }
    }
    for (std::size_t i = 0; i < rows; ++i) {
      ASSERT_EQ(oracle.jmax[i], reference.jmax[static_cast<std::size_t>(h) * rows + i]) << i;
      ASSERT_NEAR(oracle.score_absmax[i], reference.score_absmax_hi[static_cast<std::size_t>(h) * rows + i], 1e-9);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Replay, testing::ValuesIn(shapes()),
                         [](const auto& shape) { return shape.param.name; });

TEST(ReplayOracle, PartOfTheRowsSumsOnlyTheirColumns) {
  DenseReference reference(TestShape{.num_rows = 50, .head_dim = 8});
  reference.fill_random(kSeed, 1.0f);
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  ThreadPool one(1), two(2);
  const HeadOracle part = recompute_head(capture, {}, 20, 45, one);
  ASSERT_EQ(part.entropy.size(), 25u);
  double expected = 0.0;
  for (std::int64_t i = 20; i < 45; ++i) expected += reference.attn(0, i, 3);
  EXPECT_NEAR(part.received[3], expected, 1e-12);
  EXPECT_NEAR(part.entropy[7], reference.entropy[27], 1e-12);
  EXPECT_EQ(recompute_head(capture, {}, 20, 45, two).received, part.received);  // same bits for any thread count
}

TEST(ReplayPromise, HoldsForLargeScores) {
  DenseReference reference(TestShape{.num_rows = 200, .head_dim = 128, .scale = 0.5f});
  reference.fill_random(kSeed, 1.5f);
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  ThreadPool pool(1);
  std::vector<float> out(200 * 200);
  replay_tile(capture, {}, {0, 200, 0, 200}, pool, out);
  double worst = 0.0;
  for (std::int64_t i = 0; i < 200; ++i)
    for (std::int64_t j = 0; j < 200; ++j) {
      const double promise = 1e-5 + std::exp2(-21.0) * reference.score_absmax_hi[static_cast<std::size_t>(i)];
      worst = std::max(worst, std::abs(out[static_cast<std::size_t>(i * 200 + j)] - reference.attn(0, i, j)) / promise);
    }
  EXPECT_LE(worst, 1.0) << "largest score " << reference.score_absmax_hi[199];
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return {};
}

TEST(ReplayErrors, NameWhatIsMissing) {
  DenseReference reference(TestShape{.num_rows = 20, .num_heads = 2, .num_kv_heads = 2, .head_dim = 8});
  reference.fill_random(kSeed, 1.0f);
  reference.compute();
  CapturePlan plan;
  plan.heads_lh = {1, 0};
  plan.row_begin = 4;
  plan.row_end = 12;
  MemoryCapture part;
  write_capture(reference, plan, part);
  ThreadPool pool(1);
  std::vector<float> out(8);
  const auto replay = [&](const CaptureView& view, HeadRef head, TileRange tile) {
    return message_of([&] { replay_tile(view, head, tile, pool, out); });
  };
  EXPECT_NE(replay(part, {0, 0, 1}, {4, 8, 0, 2}).find("layer 5 head 1 is not recorded"), std::string::npos);
  EXPECT_NE(replay(part, {0, 0, 0}, {3, 5, 0, 4}).find("only 4:12"), std::string::npos);
  EXPECT_NE(replay(part, {0, 0, 0}, {10, 14, 0, 2}).find("only 4:12"), std::string::npos);
  EXPECT_NE(replay(part, {0, 0, 0}, {4, 8, 19, 21}).find("20 rows"), std::string::npos);
  EXPECT_NE(replay(part, {0, 1, 0}, {4, 8, 0, 2}).find("layer index 1"), std::string::npos);
  EXPECT_NE(replay(part, {0, 0, 2}, {4, 8, 0, 2}).find("head 2"), std::string::npos);
  EXPECT_NE(replay(part, {1, 0, 0}, {4, 8, 0, 2}).find("record 1"), std::string::npos);
  replay_tile(part, {0, 0, 0}, {4, 8, 0, 2}, pool, out);
  EXPECT_NEAR(out[0], reference.attn(0, 4, 0), 1e-5);

  plan = {};
  plan.level = CaptureLevel::summary;
  MemoryCapture summary;
  write_capture(reference, plan, summary);
  EXPECT_NE(replay(summary, {0, 0, 0}, {4, 8, 0, 2}).find("level is summary"), std::string::npos);
  EXPECT_NE(message_of([&] { recompute_head(summary, {}, 0, 1, pool); }).find("level is summary"), std::string::npos);
  EXPECT_NE(message_of([&] {
              replay_pooled(part, {}, {4, 8, 0, 2}, 0, 1, Pooling::max, pool);
            }).find("0 x 1"),
            std::string::npos);
}

TEST(ReplayErrors, StopsWhenAsked) {
  DenseReference reference(TestShape{.num_rows = 20, .head_dim = 8});
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  ThreadPool pool(1);
  std::stop_source source;
  source.request_stop();
  std::vector<float> out(400);
  try {
    replay_tile(capture, {}, {0, 20, 0, 20}, pool, out, source.get_token());
    FAIL() << "not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::cancelled);
  }
}

}  // namespace
}  // namespace headlight::capture
