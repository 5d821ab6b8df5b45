#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "base/error.h"

namespace headlight::workbench {

/// What a job may tell while it works. Called from the worker.
class JobContext {
 public:
  virtual ~JobContext() = default;
  virtual std::stop_token stop() const = 0;
  /// @param done, total  total 0: progress is unknown
  virtual void progress(std::string_view phase, std::int64_t done, std::int64_t total) = 0;
};

/// Where the front job stands. `title` empty: nothing runs.
struct JobStatus {
  std::string title, phase;
  std::int64_t done = 0, total = 0;
};

/// One worker thread. A job computes there and returns what is to be done with its result; that runs on the owner's
/// thread (a window's, or a test's). A newer job of the same kind replaces queued ones; a running one is stopped, and
/// its result never delivered, or it may finish first, so that something is seen while a slider moves. An error other
/// than `cancelled` goes to the job's `failed`.
class JobQueue {
 public:
  using Delivery = std::function<void()>;
  using Work = std::function<Delivery(JobContext&)>;
  using Failed = std::function<void(const Error&)>;
  /// Hands something to the owner's thread; called from the worker.
  using Post = std::function<void(Delivery)>;

  /// @param status  called on the owner's thread when a job starts, reports or ends; at most 30 reports a second
  explicit JobQueue(Post post, std::function<void(const JobStatus&)> status = {});
  /// Cancels everything and waits.
  ~JobQueue();
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  enum class Replaces { queued, running };

  /// @param kind  "run", "map"; empty = replaces nothing
  void submit(std::string kind, std::string title, Work work, Failed failed = {},
              Replaces replaces = Replaces::running);
  void cancel(const std::string& kind);
  void cancel_all();
  bool idle() const;

 private:
  struct Job;
  class Context;
  void loop();
  void run(const std::shared_ptr<Job>& job);
  void tell(JobStatus status);
  void cancel_if(const std::function<bool(const Job&)>& matches, Replaces replaces);

  Post post_;
  std::function<void(const JobStatus&)> status_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::shared_ptr<Job> running_;
  bool ending_ = false;
  // Owner's thread: deliveries look here whether the queue still lives.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::thread worker_;
};

}  // namespace headlight::workbench
