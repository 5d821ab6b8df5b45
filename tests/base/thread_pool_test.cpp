#include "base/thread_pool.h"

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace headlight {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const std::int64_t count : {0, 1, 7, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
      pool.parallel_for(count, [&](std::int64_t i, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        ++hits[static_cast<std::size_t>(i)];
      });
      for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
    }
  }
}

TEST(ThreadPool, RethrowsAndStaysUsable) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(100,
                                 [](std::int64_t i, int) {
                                   if (i == 13) throw std::runtime_error("thirteen");
                                 }),
               std::runtime_error);
  std::atomic<int> sum = 0;
  pool.parallel_for(10, [&](std::int64_t i, int) { sum += static_cast<int>(i); });
  EXPECT_EQ(sum.load(), 45);
}

TEST(ThreadPool, ManyShortLoops) {
  ThreadPool pool(2);
  std::vector<int> values(64);
  for (int round = 0; round < 2000; ++round)
    pool.parallel_for(64, [&](std::int64_t i, int) { ++values[static_cast<std::size_t>(i)]; });
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0), 64 * 2000);
}

TEST(ThreadPool, DenormalsAreFlushedInsideTasksOnly) {
  volatile float tiny = 1e-40f, one = 1.0f;  // the product must happen at run time
  ThreadPool pool(1);
  float inside = -1;
  pool.parallel_for(1, [&](std::int64_t, int) { inside = tiny * one; });
#if defined(__x86_64__)
  EXPECT_EQ(inside, 0.0f);
#endif
  EXPECT_NE(tiny * one, 0.0f);
}

}  // namespace
}  // namespace headlight
