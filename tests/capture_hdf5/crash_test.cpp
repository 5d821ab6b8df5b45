#include <cerrno>
#include <csignal>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/error.h"
#include "core/capture/memory_capture.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/file_driver.h"
#include "core/capture_hdf5/live_progress.h"
#include "tests/capture_hdf5/compare_views.h"
#include "tests/capture_hdf5/fault_support.h"
#include "tests/support/temp_folder.h"

namespace headlight::capture {
namespace {

using std::chrono::microseconds;
using testing_support::SyntheticRun;
using testing_support::TempFolder;

SyntheticRun crash_run() {
  SyntheticRun run;
  run.num_layers = 6;
  run.layers = {0, 1, 2, 4, 5};
  run.prompt_tokens = 90;
  run.generated_tokens = 70;
  return run;
}

TEST(Crash, KilledWriterLeavesEverythingBeforeTheLastFlushPoint) {
  const SyntheticRun run = crash_run();
  MemoryCapture expected;
  run.write(expected);
  const auto begin = std::chrono::steady_clock::now();
  {
    const TempFolder folder;
    Child child([&](const auto& log) { return write_capture(run, folder / "c.h5", microseconds(2000), log); });
    ASSERT_EQ(child.wait(), 0);
  }
  const auto whole = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - begin).count();
  std::mt19937 random(test_seed());
  std::uniform_int_distribution<int> delay(0, static_cast<int>(whole));
  int killed = 0;
  for (int i = 0; i < sweep_points(20, 200); ++i) {
    const int wait = delay(random);
    SCOPED_TRACE(fmt::format("seed {}, try {}, killed after {} us", test_seed(), i, wait));
    const TempFolder folder;
    Child child([&](const auto& log) { return write_capture(run, folder / "c.h5", microseconds(2000), log); });
    child.kill_after(microseconds(wait));
    const int status = child.wait();
    if (status == 0) {
      expect_same_record(expected, *open_capture(folder / "c.h5"), 0);
      continue;
    }
    ASSERT_EQ(status, 1000 + SIGKILL);
    ++killed;
    expect_recoverable(run, expected, folder.path(), static_cast<std::int64_t>(child.logged().size()));
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(killed, 5);
}

TEST(Crash, FileSizeLimitIsAnErrorAndTheRestIsRecoverable) {
  const SyntheticRun run = crash_run();
  MemoryCapture expected;
  run.write(expected);
  const TempFolder whole;
  run.write(*create_capture(whole / "c.h5", {}));
  const auto size = static_cast<double>(std::filesystem::file_size(whole / "c.h5"));
  const int points = sweep_points(25, 100);
  for (int p = 0; p < points; ++p) {
    const auto limit = static_cast<rlim_t>(1024.0 + (size - 1024.0) * p / points);
    SCOPED_TRACE(fmt::format("limit {} of {} bytes", limit, size));
    const TempFolder folder;
    Child child([&](const auto& log) {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit bounds{limit, limit};
      ::setrlimit(RLIMIT_FSIZE, &bounds);
      try {
        return write_capture(run, folder / "c.h5", microseconds(0), log);
      } catch (const Error& error) {
        const std::string text = error.what();
        const bool clear = error.code() == Errc::io && text.find("c.h5") != std::string::npos &&
                           text.find("File too large") != std::string::npos && text.find(".part") != std::string::npos;
        if (!clear) std::fprintf(stderr, "unclear message: %s\n", error.what());
        return clear ? 6 : 97;
      }
    });
    ASSERT_EQ(child.wait(), 6);
    expect_recoverable(run, expected, folder.path(), static_cast<std::int64_t>(child.logged().size()));
    if (HasFatalFailure()) return;
  }
}

TEST(Crash, EveryFailingWriteIsAnErrorAndTheRestIsRecoverable) {
  const SyntheticRun run = crash_run();
  MemoryCapture expected;
  run.write(expected);
  // The number of writes of a whole run: the first count that no longer fails.
  constexpr std::int64_t kMost = 100'000;
  const int points = sweep_points(25, 500);
  std::int64_t writes = 0;
  {
    const TempFolder folder;
    Child child([&](const auto& log) {
      hdf5::inject_write_fault(kMost, ENOSPC);
      run.write(*create_capture(folder / "c.h5", {}));
      log(kMost - hdf5::inject_write_fault(0, 0));
      return 0;
    });
    ASSERT_EQ(child.wait(), 0);
    writes = child.logged().back();
  }
  ASSERT_GT(writes, 100);
  for (int p = 0; p < points; ++p) {
    const std::int64_t count = 1 + p * (writes - 1) / (points - 1);
    SCOPED_TRACE(fmt::format("write {} of {} fails", count, writes));
    const TempFolder folder;
    Child child([&](const auto& log) {
      hdf5::inject_write_fault(count, ENOSPC);
      return write_capture(run, folder / "c.h5", microseconds(0), log);
    });
    ASSERT_EQ(child.wait(), exit_code(Errc::io));
    EXPECT_FALSE(std::filesystem::exists(folder / "c.h5"));
    expect_recoverable(run, expected, folder.path(), static_cast<std::int64_t>(child.logged().size()));
    if (HasFatalFailure()) return;
  }
}

TEST(Crash, DiskErrorIsReportedOnceAndTheProcessGoesOn) {
  const TempFolder folder;
  const SyntheticRun run = crash_run();
  const auto sink = create_capture(folder / "c.h5", {});
  sink->begin(run.header());
  hdf5::inject_write_fault(200, ENOSPC);
  try {
    run.write_record(*sink, 0);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::io);
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("No space left on device"),
                                               ::testing::HasSubstr("bytes were to be written"),
                                               ::testing::HasSubstr("are free"), ::testing::HasSubstr(".part")));
    EXPECT_THAT(error.context().hint, ::testing::HasSubstr("recover"));
  }
  sink->end_record(0, {});
  EXPECT_THROW(sink->flush(), Error);
  EXPECT_NO_THROW(sink->finish(false));
  EXPECT_FALSE(find_part(folder.path()).empty());
  hdf5::inject_write_fault(0, 0);
  SyntheticRun other;
  other.write(*create_capture(folder / "other.h5", {}));
  EXPECT_EQ(open_capture(folder / "other.h5")->complete(), CompleteState::sealed);
}

TEST(Crash, OfManyWritersOfOneOutputExactlyOneWins) {
  const TempFolder folder;
  SyntheticRun run;
  run.prompt_tokens = 20;
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 20; ++i)
    children.push_back(std::make_unique<Child>(
        [&](const auto& log) { return write_capture(run, folder / "c.h5", microseconds(1000), log); }));
  int won = 0;
  for (const auto& child : children) {
    const int status = child->wait();
    won += status == 0 ? 1 : 0;
    EXPECT_TRUE(status == 0 || status == exit_code(Errc::output_exists)) << status;
  }
  EXPECT_EQ(won, 1);
  EXPECT_EQ(open_capture(folder / "c.h5")->complete(), CompleteState::sealed);
}

TEST(Crash, RecoverRefusesAFileThatIsBeingWritten) {
  const TempFolder folder;
  const SyntheticRun run = crash_run();
  const auto sink = create_capture(folder / "c.h5", {});
  sink->begin(run.header());
  run.write_record(*sink, 0);
  Child child([&](const auto&) {
    recover_capture(find_part(folder.path()), folder / "r.h5", false);
    return 0;
  });
  EXPECT_EQ(child.wait(), exit_code(Errc::busy));
  sink->finish(true);
  EXPECT_EQ(open_capture(folder / "c.h5")->complete(), CompleteState::sealed);
}

TEST(Crash, InterruptedRunIsSealedAsPartial) {
  const TempFolder folder;
  const SyntheticRun run = crash_run();
  run.write(*create_capture(folder / "c.h5", {}), false);
  try {
    open_capture(folder / "c.h5");
    FAIL() << "a partial capture was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::damaged);
  }
  EXPECT_EQ(open_capture(folder / "c.h5", {.allow_incomplete = true, .check_manifest = true})->complete(),
            CompleteState::partial);
}

TEST(Live, AnotherProcessFollowsARunningCapture) {
  const TempFolder folder;
  const SyntheticRun run = crash_run();
  MemoryCapture expected;
  run.write(expected);
  Child child([&](const auto& log) { return write_capture(run, folder / "c.h5", microseconds(15'000), log); });
  std::int64_t sequence = 0, rows = 0, polls = 0;
  while (child.is_running()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto part = find_part(folder.path());
    if (part.empty()) continue;
    LiveProgress progress;
    try {
      progress = read_live_progress(part);
    } catch (const Error& error) {
      // Before the first flush point, while it is sealed, or already renamed.
      if (polls > 0 && sequence > 0 && rows < run.num_rows() && std::filesystem::exists(part))
        ADD_FAILURE() << error.what();
      continue;
    }
    ++polls;
    EXPECT_GE(progress.sequence, sequence);
    EXPECT_GE(progress.num_rows(), rows);
    sequence = progress.sequence;
    rows = progress.num_rows();
    if (progress.layers_done == 0 || progress.state != 1) continue;
    try {
      const auto view = open_capture(part, {.allow_incomplete = true, .check_manifest = false});
      const Buffer<float> x = expected.statistic(0, "lse", 0), y = view->statistic(0, "lse", 0);
      const auto there = static_cast<std::size_t>(view->record(0).num_rows);
      for (std::size_t i = 0; i < std::min<std::size_t>(there, static_cast<std::size_t>(rows)); ++i)
        EXPECT_EQ(x[i], y[i]) << i;
    } catch (const Error& error) {
      if (std::filesystem::exists(part) && rows < run.num_rows()) ADD_FAILURE() << error.what();
    }
  }
  EXPECT_EQ(child.wait(), 0);
  EXPECT_GT(polls, 3);
  expect_same_record(expected, *open_capture(folder / "c.h5"), 0);
}

}  // namespace
}  // namespace headlight::capture
