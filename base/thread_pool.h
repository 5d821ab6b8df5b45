#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace headlight {

/// A fixed team of threads for data-parallel loops. The caller is worker 0, so a pool of 1 starts no thread.
///
/// Tasks are taken from a shared counter; results must not depend on which worker runs a task (each task writes its
/// own output, partial sums are combined by the caller in task order). Then any thread count gives the same bits.
/// Denormals are flushed to zero while a task runs.
///
/// Between loops a worker looks for work for some tens of microseconds before it sleeps, because a decode step is
/// hundreds of loops of a few microseconds each; it sleeps at once when there are more threads than processors.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Runs task(index, worker) for index in [0, count), worker in [0, num_threads). Blocks until all are done; the
  /// first exception of a task is rethrown here, remaining tasks are skipped. Not reentrant.
  void parallel_for(std::int64_t count, const std::function<void(std::int64_t index, int worker)>& task);

  /// Number of hardware threads this process may use.
  static int available_threads();

 private:
  void worker_loop(int worker);
  void end_workers();
  bool enter_loop();
  void leave_loop();
  void run_tasks(int worker);

  std::vector<std::thread> workers_;
  bool spin_ = false;
  std::mutex mutex_;  // guards error_, and the steps from "about to sleep" to asleep
  std::condition_variable wake_, done_;
  // Written by the caller while the loop is closed and no worker is inside.
  const std::function<void(std::int64_t, int)>* task_ = nullptr;
  std::int64_t count_ = 0;
  std::exception_ptr error_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::uint64_t> generation_{0};  // number of the current loop; changes under mutex_
  alignas(64) std::atomic<std::uint32_t> gate_{0};        // workers inside the loop, and kOpen while they may enter
  std::atomic<bool> stop_{false};
};

}  // namespace headlight
