#include "tests/capture_hdf5/fault_support.h"

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::capture {

using testing_support::SyntheticRun;

bool is_slow_run() {
  return std::getenv("HEADLIGHT_SLOW") != nullptr;
}

std::uint32_t test_seed() {
  const char* text = std::getenv("HEADLIGHT_TEST_SEED");
  return text == nullptr ? 20260101u : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

Child::Child(const std::function<int(const std::function<void(std::int64_t)>& log)>& work) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(ends[0]);
    int code = 99;
    try {
      code = work([&](std::int64_t value) {
        if (::write(ends[1], &value, sizeof value) != sizeof value) ::_exit(98);
      });
    } catch (const Error& error) {
      code = exit_code(error.code());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    ::_exit(code);
  }
  ::close(ends[1]);
  pipe_ = ends[0];
}

Child::~Child() {
  if (!status_) {
    ::kill(pid_, SIGKILL);
    wait();
  }
}

void Child::send(int signal) {
  ::kill(pid_, signal);
}

void Child::kill_after(std::chrono::microseconds time) {
  std::this_thread::sleep_for(time);
  ::kill(pid_, SIGKILL);
}

bool Child::is_running() {
  int status = 0;
  if (status_) return false;
  if (::waitpid(pid_, &status, WNOHANG) == 0) return true;
  status_ = WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
  return false;
}

int Child::wait() {
  std::int64_t value = 0;
  while (pipe_ >= 0 && ::read(pipe_, &value, sizeof value) == sizeof value) logged_.push_back(value);
  if (pipe_ >= 0) ::close(std::exchange(pipe_, -1));
  if (!status_) {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    status_ = WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return *status_;
}

std::filesystem::path find_part(const std::filesystem::path& folder) {
  std::filesystem::path found;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".part") found = entry.path();
  return found;
}

int write_capture(const SyntheticRun& run, const std::filesystem::path& path, std::chrono::microseconds sleep,
                  const std::function<void(std::int64_t)>& log) {
  SyntheticRun logging = run;
  logging.after_flush = [&](std::int64_t) {
    log(1);
    std::this_thread::sleep_for(sleep);
  };
  logging.write(*create_capture(path, {}));
  return 0;
}

void expect_recoverable(const SyntheticRun& run, const CaptureView& expected, const std::filesystem::path& folder,
                        std::int64_t flushes) {
  const auto part = find_part(folder);
  const auto output = folder / "recovered.h5";
  if (part.empty()) {
    EXPECT_EQ(flushes, 0) << "the part file is gone";
    return;
  }
  RecoverReport report;
  try {
    report = recover_capture(part, output, false);
  } catch (const Error& error) {
    EXPECT_EQ(flushes, 0) << "not recovered: " << error.what();
    EXPECT_TRUE(error.code() == Errc::damaged || error.code() == Errc::bad_format) << error.what();
    return;
  }
  const auto layers = static_cast<std::int64_t>(run.layers.size());
  // Flush points: one per recorded layer of the prompt, then one per block of 16 generated rows.
  const std::int64_t least = flushes == 0       ? 0
                             : flushes < layers ? run.prompt_tokens
                                                : std::min(run.num_rows(), run.prompt_tokens + (flushes - layers) * 16);
  EXPECT_GE(report.rows_recovered, least) << flushes << " flush points";
  const auto found = open_capture(output, {.allow_incomplete = true, .check_manifest = true});
  EXPECT_EQ(found->complete(), CompleteState::partial);
  const RecordInfo info = found->record(0);
  ASSERT_EQ(info.num_rows, report.rows_recovered);
  // Sums of the columns that do not count every row are not kept.
  if (info.num_rows > run.prompt_tokens && info.num_rows < run.num_rows()) {
    EXPECT_FALSE(info.has_columns);
    EXPECT_FALSE(info.has_overview);
  }
  for (int l = 0; l < layers; ++l) {
    const bool reached = l < flushes;
    for (const char* id : {"lse", "entropy", "jmax"}) {
      const Buffer<float> x = expected.statistic(0, id, l), y = found->statistic(0, id, l);
      const auto rows = static_cast<std::size_t>(info.num_rows), all = static_cast<std::size_t>(run.num_rows());
      for (std::size_t h = 0; h < static_cast<std::size_t>(run.num_heads); ++h)
        for (std::size_t i = 0; i < rows; ++i) {
          const float a = x[h * all + i], b = y[h * rows + i];
          ASSERT_TRUE(a == b || (!reached && std::isnan(b)))
              << id << " layer " << l << " head " << h << " row " << i << ": expected " << a << ", found " << b;
        }
    }
    if (!reached || !info.has_replay) continue;
    const auto dim = static_cast<std::size_t>(run.head_dim);
    Buffer<float> x(static_cast<std::size_t>(info.num_rows) * dim), y(x.size());
    expected.read_k(0, l, 0, 0, info.num_rows, x.data());
    found->read_k(0, l, 0, 0, info.num_rows, y.data());
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(x[i], y[i]) << "k, layer " << l << " element " << i;
  }
}

}  // namespace headlight::capture
