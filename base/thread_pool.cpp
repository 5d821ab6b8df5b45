#include "base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <sched.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace headlight {
namespace {

constexpr std::uint32_t kOpen = 1u << 31;

/// Flush-to-zero and denormals-are-zero for the life of the object: keeps softmax tails from running 100x slower.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) {
    _mm_setcsr(saved_ | 0x8040u);
  }
  ~FlushDenormals() {
    _mm_setcsr(saved_);
  }

 private:
  unsigned saved_;
#endif
};

void pause_processor() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Looks at `ready` for up to 50 microseconds: about what putting a thread to sleep and waking it costs.
template <class Ready>
bool spin_until(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
  do {
    for (int look = 0; look < 16; ++look) {
      if (ready()) return true;
      pause_processor();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : spin_(num_threads <= available_threads()) {
  try {
    for (int worker = 1; worker < num_threads; ++worker) workers_.emplace_back([this, worker] { worker_loop(worker); });
  } catch (...) {  // a limit of threads or memory: those that run must end before the vector does
    end_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  end_workers();
}

void ThreadPool::end_workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true, std::memory_order_relaxed);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

int ThreadPool::available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

void ThreadPool::parallel_for(std::int64_t count, const std::function<void(std::int64_t, int)>& task) {
  if (count <= 0) return;
  task_ = &task;
  count_ = count;
  error_ = nullptr;
  next_.store(0, std::memory_order_relaxed);
  const bool shared = !workers_.empty() && count > 1;
  if (shared) {
    gate_.store(kOpen, std::memory_order_release);
    {
      const std::lock_guard lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  run_tasks(0);
  // A worker that has not come by now is not waited for: it may sleep, or the machine may be busy.
  if (shared && gate_.fetch_and(~kOpen, std::memory_order_acq_rel) != kOpen) {
    const auto left = [this] { return gate_.load(std::memory_order_acquire) == 0; };
    if (!spin_ || !spin_until(left)) {
      std::unique_lock lock(mutex_);
      done_.wait(lock, left);
    }
  }
  task_ = nullptr;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::run_tasks(int worker) {
  const FlushDenormals flush;
  while (true) {
    const std::int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= count_) return;
    try {
      (*task_)(index, worker);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_.store(count_, std::memory_order_relaxed);
    }
  }
}

bool ThreadPool::enter_loop() {
  std::uint32_t gate = gate_.load(std::memory_order_relaxed);
  while (gate & kOpen)
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) return true;
  return false;
}

void ThreadPool::leave_loop() {
  if (gate_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;  // still open, or others are inside
  { const std::lock_guard lock(mutex_); }                          // the caller is before its last look or asleep
  done_.notify_one();
}

void ThreadPool::worker_loop(int worker) {
  std::uint64_t seen = 0;
  const auto called = [&] {
    return stop_.load(std::memory_order_relaxed) || generation_.load(std::memory_order_acquire) != seen;
  };
  while (true) {
    if (!spin_ || !spin_until(called)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, called);
    }
    if (stop_.load(std::memory_order_relaxed)) return;
    seen = generation_.load(std::memory_order_acquire);
    if (!enter_loop()) continue;
    run_tasks(worker);
    leave_loop();
  }
}

}  // namespace headlight
