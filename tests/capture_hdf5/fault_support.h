#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include <sys/types.h>

#include "core/capture/capture_view.h"
#include "tests/support/synthetic_capture.h"

namespace headlight::capture {

/// HEADLIGHT_SLOW=1: the long form of a sweep.
bool is_slow_run();
inline int sweep_points(int fast, int slow) {
  return is_slow_run() ? slow : fast;
}

/// Seed of random choices, printed when a test fails: HEADLIGHT_TEST_SEED, else a fixed one.
std::uint32_t test_seed();

/// A forked child. It reports numbers through `log` while it runs.
class Child {
 public:
  /// `work` returns the exit code; exceptions become the exit code of the Error, 99 for any other.
  explicit Child(const std::function<int(const std::function<void(std::int64_t)>& log)>& work);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  void send(int signal);
  void kill_after(std::chrono::microseconds time);
  /// Waits; exit code, or 1000 + signal.
  int wait();
  bool is_running();
  /// Everything that was logged so far, in order. Call after wait().
  std::vector<std::int64_t> logged() const { return logged_; }

 private:
  pid_t pid_ = -1;
  int pipe_ = -1;
  std::optional<int> status_;
  std::vector<std::int64_t> logged_;
};

/// The only `.part` file in a folder, empty path when there is none.
std::filesystem::path find_part(const std::filesystem::path& folder);

/// Writes `run` to `path`; logs 1 per flush, sleeps after it.
int write_capture(const testing_support::SyntheticRun& run, const std::filesystem::path& path,
                  std::chrono::microseconds sleep, const std::function<void(std::int64_t)>& log);

/// Recovers the part file in `folder` after `flushes` flush points passed and compares every number that is there with
/// `expected`; without a flush point an honest refusal is enough.
void expect_recoverable(const testing_support::SyntheticRun& run, const CaptureView& expected,
                        const std::filesystem::path& folder, std::int64_t flushes);

}  // namespace headlight::capture
