#include "app/workbench/job_queue.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace headlight::workbench {
namespace {

/// The owner's thread of a test: what was posted runs when it is drained.
class Mailbox {
 public:
  JobQueue::Post post() {
    return [this](JobQueue::Delivery delivery) {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(delivery));
    };
  }
  void drain() {
    std::vector<JobQueue::Delivery> now;
    {
      const std::lock_guard lock(mutex_);
      now.swap(waiting_);
    }
    for (auto& delivery : now) delivery();
  }
  void drain_until_idle(const JobQueue& queue) {
    while (!queue.idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    drain();
  }

 private:
  std::mutex mutex_;
  std::vector<JobQueue::Delivery> waiting_;
};

TEST(JobQueue, DeliversOnTheOwnersThread) {
  Mailbox mail;
  JobQueue queue(mail.post());
  std::thread::id worked, delivered;
  queue.submit("", "one", [&](JobContext&) -> JobQueue::Delivery {
    worked = std::this_thread::get_id();
    return [&] { delivered = std::this_thread::get_id(); };
  });
  mail.drain_until_idle(queue);
  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_EQ(delivered, std::this_thread::get_id());
}

TEST(JobQueue, ANewerJobOfItsKindStopsTheRunningOne) {
  Mailbox mail;
  JobQueue queue(mail.post());
  std::atomic<bool> started = false;
  std::vector<int> seen;
  queue.submit("run", "first", [&](JobContext& context) -> JobQueue::Delivery {
    started = true;
    while (!context.stop().stop_requested()) std::this_thread::yield();
    return [&] { seen.push_back(1); };
  });
  while (!started) std::this_thread::yield();
  for (int n = 2; n <= 4; ++n)
    queue.submit("run", "next", [&, n](JobContext&) -> JobQueue::Delivery { return [&, n] { seen.push_back(n); }; });
  mail.drain_until_idle(queue);
  EXPECT_EQ(seen.back(), 4);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 0);
}

TEST(JobQueue, OrLetsItFinish) {
  Mailbox mail;
  JobQueue queue(mail.post());
  std::atomic<bool> started = false, go = false;
  std::vector<int> seen;
  queue.submit("run", "first", [&](JobContext&) -> JobQueue::Delivery {
    started = true;
    while (!go) std::this_thread::yield();
    return [&] { seen.push_back(1); };
  });
  while (!started) std::this_thread::yield();
  for (int n = 2; n <= 4; ++n)
    queue.submit(
        "run", "next", [&, n](JobContext&) -> JobQueue::Delivery { return [&, n] { seen.push_back(n); }; }, {},
        JobQueue::Replaces::queued);
  go = true;
  mail.drain_until_idle(queue);
  EXPECT_EQ(seen, (std::vector<int>{1, 4}));
}

TEST(JobQueue, DeliveriesOfAQueueThatIsGoneDoNothing) {
  Mailbox mail;
  bool delivered = false;
  {
    JobQueue queue(mail.post());
    queue.submit("run", "x", [&](JobContext&) -> JobQueue::Delivery { return [&] { delivered = true; }; });
    while (!queue.idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  mail.drain();
  EXPECT_FALSE(delivered);
}

TEST(JobQueue, ErrorsAreToldAndCancellingIsNone) {
  Mailbox mail;
  JobQueue queue(mail.post());
  std::vector<std::string> errors;
  const auto note = [&](const Error& error) { errors.emplace_back(error.what()); };
  const auto failing = [](Errc code) {
    return [code](JobContext&) -> JobQueue::Delivery { throw Error(code, "broken"); };
  };
  queue.submit("", "a", failing(Errc::bad_format), note);
  queue.submit("", "b", failing(Errc::cancelled), note);
  queue.submit(
      "", "c", [](JobContext&) -> JobQueue::Delivery { throw std::runtime_error("odd"); }, note);
  mail.drain_until_idle(queue);
  EXPECT_EQ(errors, (std::vector<std::string>{"broken", "odd"}));
}

TEST(JobQueue, TellsWhereItStands) {
  Mailbox mail;
  std::vector<std::string> titles;
  JobQueue queue(mail.post(), [&](const JobStatus& status) { titles.push_back(status.title + status.phase); });
  queue.submit("", "work", [](JobContext& context) -> JobQueue::Delivery {
    context.progress(":half", 1, 2);
    return {};
  });
  while (titles.empty() || !titles.back().empty()) mail.drain();
  EXPECT_EQ(titles, (std::vector<std::string>{"work", "work:half", ""}));
}

}  // namespace
}  // namespace headlight::workbench
