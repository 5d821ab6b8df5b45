#include "core/capture/derive.h"

#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "base/error.h"
#include "core/capture/statistics.h"
#include "tests/capture/dense_reference.h"

namespace headlight::capture {
namespace {

void expect_values(const Buffer<float>& found, const std::vector<double>& expected, double tolerance,
                   std::string_view what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (std::size_t n = 0; n < expected.size(); ++n) {
    if (std::isnan(expected[n])) {
      EXPECT_TRUE(std::isnan(found[n])) << what << " [" << n << "] = " << found[n];
    } else {
      EXPECT_NEAR(found[n], expected[n], tolerance) << what << " [" << n << "]";
    }
  }
}

class E4 : public testing::Test {
 protected:
  E4() { write_capture(e4_reference(), {}, capture); }
  MemoryCapture capture;
};

TEST_F(E4, RowsAndColumns) {
  const double nan = std::nan("");
  const std::pair<const char*, std::vector<double>> table[] = {
      {"lse", {0, 0, 0, 0}},
      {"entropy", {0, 0.673012, 1.029653, 0.940448}},
      {"entropy_real", {0, 0.673012, 1.029653, 0.940448}},
      {"entropy_normalized", {nan, 0.970951, 0.937231, 0.678390}},
      {"effective_support", {1, 1.960132, 2.800094, 2.561129}},
      {"pmax", {1, 0.6, 0.5, 0.7}},
      {"jmax", {0, 0, 0, 0}},
      {"first", {1, 0.6, 0.5, 0.7}},
      {"sink", {1, 1, 1, 1}},
      {"local", {1, 1, 1, 1}},
      {"dist1", {0, 0.6, 1.2, 2.4}},
      {"dist2", {0, 0.6, 2.2, 6.8}},
      {"off0", {1, 0.4, 0.3, 0.1}},
      {"off1", {0, 0.6, 0.2, 0.1}},
      {"null_mass", {0, 0, 0, 0}},
      {"received", {2.8, 0.7, 0.4, 0.1}},
      {"received_tail", {2.8, 0.7, 0.4, 0.1}},
      {"received_mean", {0.7, 0.233333, 0.2, 0.1}},
      {"visible_count", {4, 3, 2, 1}},
  };
  for (const auto& [id, expected] : table) expect_values(capture.statistic(0, id, 0), expected, 2e-6, id);
}

TEST_F(E4, HeadValues) {
  const std::pair<const char*, double> table[] = {
      {"entropy", 0.660778},
      {"entropy_normalized", 0.862190},
      {"effective_support", (1 + 1.960132 + 2.800094 + 2.561129) / 4},
      {"distance", 1.05},
      {"dist1", 1.05},
      {"received0", 0.7},
      {"first", 0.6},  // row 0 is left out
      {"off0", (0.4 + 0.3 + 0.1) / 3},
      {"off1", 0.3},
      {"pmax", 0.7},
      {"received", 1.0},
      {"received_mean", (0.7 + 0.233333 + 0.2 + 0.1) / 4},
      {"received_mean_max", std::nan("")},  // no key is seen by 8 rows
  };
  for (const auto& [id, expected] : table) expect_values(capture.head_statistic(0, id), {expected}, 2e-6, id);
}

TEST_F(E4, EveryAvailableStatisticCanBeRead) {
  const auto available = capture.available_statistics(0);
  EXPECT_EQ(available.size(), 22u);  // all but group_mass: the record has no segments
  for (const std::string& id : available) {
    if (find_statistic(id)->kind != StatisticKind::head) {
      EXPECT_EQ(capture.statistic(0, id, 0).size(), 4u) << id;
    }
    if (id != "jmax") {
      EXPECT_EQ(capture.head_statistic(0, id).size(), 1u) << id;
    }
  }
}

TEST_F(E4, RefusesWhatMeansNothing) {
  EXPECT_THROW(capture.head_statistic(0, "jmax"), Error);
  EXPECT_THROW(capture.statistic(0, "received0", 0), Error);
  EXPECT_THROW(capture.statistic(0, "nonsense", 0), Error);
  EXPECT_THROW(capture.statistic(0, "entropy", 1), Error);
  EXPECT_THROW(capture.statistic(1, "entropy", 0), Error);
}

TEST(Derive, UniformCausalAttentionReceivesTheHarmonicNumber) {
  DenseReference reference(TestShape{.name = "uniform"});
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  EXPECT_NEAR(capture.head_statistic(0, "received0")[0], 0.520833, 1e-6);
  EXPECT_NEAR(capture.head_statistic(0, "entropy_normalized")[0], 1.0, 1e-6);
}

TEST(Derive, GeometryMatchesTheVisibleSet) {
  for (const bool causal : {true, false})
    for (const std::int64_t window : {0, 1, 3, 7, 30})
      for (const std::int64_t first_key : {0, 2, 9}) {
        const TestShape shape{.num_rows = 9, .causal = causal, .window = window, .first_key = first_key};
        const DenseReference reference(shape);
        const LayerGeometry geometry{{causal, window, first_key}, shape.num_rows, false};
        std::int64_t all_pairs = 0;
        for (std::int64_t x = 0; x < shape.num_rows; ++x) {
          std::int64_t keys = 0, rows = 0;
          for (std::int64_t y = 0; y < shape.num_rows; ++y) {
            keys += reference.visible(x, y) ? 1 : 0;
            rows += reference.visible(y, x) ? 1 : 0;
          }
          EXPECT_EQ(geometry.visible_keys(x), keys) << causal << " " << window << " " << first_key << " row " << x;
          EXPECT_EQ(geometry.visible_rows(x), rows) << causal << " " << window << " " << first_key << " key " << x;
          all_pairs += keys;
        }
        EXPECT_EQ(geometry.visible_pairs({0, 9}, {0, 9}), all_pairs);
        const kernels::KeyRange seen = geometry.visible_to_rows(3, 6);
        for (std::int64_t j = 0; j < 9; ++j) {
          const bool any = reference.visible(3, j) || reference.visible(4, j) || reference.visible(5, j);
          EXPECT_EQ(any, j >= seen.begin && j < seen.end) << causal << " " << window << " " << first_key << " " << j;
        }
      }
}

TEST(Derive, LearnedSinkIsOneMoreOutcome) {
  DenseReference reference(TestShape{.name = "null", .null_logit_h = {0.0f}});
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  // Uniform over n keys and the null event.
  for (std::size_t i = 0; i < 4; ++i) {
    const double keys = static_cast<double>(i) + 1.0;
    EXPECT_NEAR(capture.statistic(0, "null_mass", 0)[i], 1.0 / (keys + 1.0), 1e-6);
    EXPECT_NEAR(capture.statistic(0, "entropy", 0)[i], std::log(keys + 1.0), 1e-6);
    EXPECT_NEAR(capture.statistic(0, "entropy_real", 0)[i], std::log(keys), 1e-6);
    EXPECT_NEAR(capture.statistic(0, "entropy_normalized", 0)[i], 1.0, 1e-6);
  }
}

TEST(Derive, PaddingRowsCountNowhere) {
  TestShape shape{.name = "padding", .num_rows = 12, .first_key = 5, .sink_size = 1};
  DenseReference reference(shape);
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  const Buffer<float> jmax = capture.statistic(0, "jmax", 0), lse = capture.statistic(0, "lse", 0);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(jmax[i], -1.0f);
    EXPECT_EQ(lse[i], -INFINITY);
    EXPECT_TRUE(std::isnan(capture.statistic(0, "effective_support", 0)[i]));
  }
  // Rows 5..11 see 1..7 keys, uniformly.
  double entropy = 0.0, sink = 0.0, harmonic = 0.0;
  for (int n = 1; n <= 7; ++n) {
    entropy += std::log(n) / 7.0;
    harmonic += 1.0 / n / 7.0;
    if (n > 1) sink += 1.0 / n / 6.0;
  }
  EXPECT_NEAR(capture.head_statistic(0, "entropy")[0], entropy, 1e-6);
  EXPECT_NEAR(capture.head_statistic(0, "sink")[0], sink, 1e-6);
  EXPECT_NEAR(capture.head_statistic(0, "received0")[0], harmonic, 1e-6);
  EXPECT_NEAR(capture.head_statistic(0, "received")[0], 1.0, 1e-6);
  EXPECT_TRUE(std::isfinite(capture.head_statistic(0, "lse")[0]));
}

TEST(Derive, LargestColumnNeedsEightRows) {
  DenseReference reference(TestShape{.name = "columns", .num_rows = 10, .head_dim = 10});
  for (std::size_t i = 0; i < 10; ++i) {
    reference.k_gjd[i * 10 + i] = 1.0f;
    reference.q_hid[i * 10 + std::min<std::size_t>(i, i < 5 ? 1 : 6)] = 50.0f;
  }
  reference.compute();
  MemoryCapture capture;
  write_capture(reference, {}, capture);
  // Key 6 gets all of rows 6..9, but only they see it; key 1 gets rows 1..4 of the 9 that see it.
  EXPECT_NEAR(capture.head_statistic(0, "received_mean_max")[0], 4.0 / 9.0, 1e-5);
}

}  // namespace
}  // namespace headlight::capture
