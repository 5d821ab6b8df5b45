#include "core/capture/map_source.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/capture/dense_reference.h"

namespace headlight::capture {
namespace {

class MapSources : public testing::Test {
 protected:
  explicit MapSources(std::int64_t rows = 600) : reference(TestShape{.num_rows = rows, .head_dim = 8}) {
    reference.fill_random(7, 1.0f);
    reference.compute();
  }
  MapPicture read(const CapturePlan& plan, MapRequest request) {
    MemoryCapture capture;
    write_capture(reference, plan, capture);
    return read_map(capture, {}, request, pool);
  }
  double expected(const MapPicture& picture, std::int64_t y, std::int64_t x, Pooling pooling) const {
    double largest = 0.0, sum = 0.0, pairs = 0.0;
    for (std::int64_t i = picture.tile.row_begin + y * picture.pool;
         i < std::min(picture.tile.row_end, picture.tile.row_begin + (y + 1) * picture.pool); ++i)
      for (std::int64_t j = picture.tile.col_begin + x * picture.pool;
           j < std::min(picture.tile.col_end, picture.tile.col_begin + (x + 1) * picture.pool); ++j) {
        largest = std::max(largest, reference.attn(0, i, j));
        sum += reference.attn(0, i, j);
        pairs += reference.visible(i, j) ? 1.0 : 0.0;
      }
    return pooling == Pooling::max ? largest : pairs > 0.0 ? sum / pairs : 0.0;
  }
  void expect_exact(const MapPicture& picture, Pooling pooling) const {
    ASSERT_EQ(picture.attn_yx.size(), static_cast<std::size_t>(picture.rows * picture.cols));
    for (std::int64_t y = 0; y < picture.rows; ++y)
      for (std::int64_t x = 0; x < picture.cols; ++x)
        ASSERT_NEAR(picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)], expected(picture, y, x, pooling),
                    2e-5)
            << y << " " << x;
  }

  DenseReference reference;
  ThreadPool pool{2};
};

TEST_F(MapSources, CheapTileIsReplayed) {
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    const MapPicture picture = read({}, {.tile = {100, 600, 0, 600}, .max_cells = 128, .pooling = pooling});
    EXPECT_EQ(picture.source, MapSource::replay);
    EXPECT_EQ(picture.pool, 5);
    EXPECT_EQ(picture.rows, 100);
    EXPECT_EQ(picture.cols, 120);
    expect_exact(picture, pooling);
    for (std::int64_t y = 0; y < picture.rows; ++y)
      for (std::int64_t x = 0; x < picture.cols; ++x)
        ASSERT_EQ(picture.visible_yx[static_cast<std::size_t>(y * picture.cols + x)],
                  expected(picture, y, x, Pooling::max) > 0.0 ? 1 : 0);
  }
}

TEST_F(MapSources, DearTileComesFromTheOverview) {
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    const MapPicture picture = read({}, {.tile = {101, 590, 3, 600}, .pooling = pooling, .max_flop = 1.0});
    EXPECT_EQ(picture.source, MapSource::overview);
    EXPECT_EQ(picture.pool, 4);  // 600 tokens in blocks of next_pow2(ceil(600 / 256))
    EXPECT_EQ(picture.tile.row_begin, 100);
    EXPECT_EQ(picture.tile.row_end, 592);
    EXPECT_EQ(picture.tile.col_begin, 0);
    EXPECT_EQ(picture.tile.col_end, 600);
    expect_exact(picture, pooling);
    expect_exact(read({}, {.tile = {0, 600, 0, 600}, .max_cells = 40, .pooling = pooling, .max_flop = 1.0}), pooling);
  }
}

TEST_F(MapSources, SummaryLevelHasItsOverview) {
  CapturePlan plan;
  plan.level = CaptureLevel::summary;
  EXPECT_EQ(read(plan, {.tile = {0, 600, 0, 600}}).source, MapSource::overview);
}

TEST_F(MapSources, WithoutOverviewRowsAreSampled) {
  CapturePlan plan;
  plan.overview = false;
  const MapPicture picture = read(plan, {.tile = {0, 600, 0, 600}, .max_cells = 60, .max_flop = 1e6});
  EXPECT_EQ(picture.source, MapSource::sampled);
  EXPECT_EQ(picture.pool, 10);
  EXPECT_NEAR(picture.sampled_share, 0.3, 1e-9);  // 1e6 of 2.9e6 operations: 3 of 10 rows
  bool any_below = false;
  for (std::int64_t y = 0; y < picture.rows; ++y)
    for (std::int64_t x = 0; x < picture.cols; ++x) {
      const double exact = expected(picture, y, x, Pooling::max);
      const float found = picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)];
      ASSERT_LE(found, exact + 1e-5);
      any_below |= found < exact - 1e-5;
    }
  EXPECT_TRUE(any_below);
}

TEST_F(MapSources, NothingToMakeAMapOfIsAnError) {
  CapturePlan plan;
  plan.level = CaptureLevel::summary;
  plan.overview = false;
  MemoryCapture capture;
  write_capture(reference, plan, capture);
  try {
    read_map(capture, {}, {.tile = {0, 600, 0, 600}}, pool);
    FAIL() << "made a map of nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("level summary"), std::string::npos) << error.what();
  }
}

TEST_F(MapSources, TileOutsideTheCaptureIsAnError) {
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  for (const TileRange tile :
       {TileRange{0, 601, 0, 600}, TileRange{-1, 5, 0, 5}, TileRange{5, 5, 0, 5}, TileRange{0, 5, 7, 6}})
    EXPECT_THROW(read_map(capture, {}, {.tile = tile}, pool), Error);
}

TEST_F(MapSources, StoredMapComesFirst) {
  DenseReference small(TestShape{.num_rows = 12, .head_dim = 8});
  small.compute();
  CapturePlan plan;
  plan.level = CaptureLevel::maps;
  MemoryCapture capture;
  write_capture(small, plan, capture);
  std::vector<float> map(144);
  for (std::size_t n = 0; n < map.size(); ++n) map[n] = static_cast<float>(n);
  capture.write_dense({.index = 0, .head = 0, .row_begin = 0, .num_rows = 12, .num_keys = 12, .attn_ij = map.data()});
  const MapPicture picture = read_map(capture, {}, {.tile = {2, 12, 0, 12}, .max_cells = 6}, pool);
  EXPECT_EQ(picture.source, MapSource::dense);
  EXPECT_EQ(picture.pool, 2);
  EXPECT_EQ(picture.attn_yx[0], 3 * 12 + 1);
  EXPECT_EQ(picture.attn_yx[6 * 4 + 5], 143.0f);
}

}  // namespace
}  // namespace headlight::capture
