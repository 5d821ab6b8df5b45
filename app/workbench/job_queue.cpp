#include "app/workbench/job_queue.h"

#include <algorithm>
#include <chrono>

namespace headlight::workbench {

struct JobQueue::Job {
  std::string kind, title;
  Work work;
  Failed failed;
  std::stop_source stop;
};

class JobQueue::Context final : public JobContext {
 public:
  Context(JobQueue& queue, const Job& job) : queue_(queue), job_(job) {}
  std::stop_token stop() const override { return job_.stop.get_token(); }
  void progress(std::string_view phase, std::int64_t done, std::int64_t total) override {
    const auto now = std::chrono::steady_clock::now();
    if (now - told_ < std::chrono::milliseconds(33) && done < total) return;
    told_ = now;
    queue_.tell({job_.title, std::string(phase), done, total});
  }

 private:
  JobQueue& queue_;
  const Job& job_;
  std::chrono::steady_clock::time_point told_{};
};

JobQueue::JobQueue(Post post, std::function<void(const JobStatus&)> status)
    : post_(std::move(post)), status_(std::move(status)), worker_([this] { loop(); }) {}

JobQueue::~JobQueue() {
  *alive_ = false;
  cancel_all();
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  worker_.join();
}

void JobQueue::submit(std::string kind, std::string title, Work work, Failed failed, Replaces replaces) {
  if (!kind.empty()) cancel_if([&](const Job& job) { return job.kind == kind; }, replaces);
  auto job = std::make_shared<Job>(Job{std::move(kind), std::move(title), std::move(work), std::move(failed), {}});
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void JobQueue::cancel_if(const std::function<bool(const Job&)>& matches, Replaces replaces) {
  const std::lock_guard lock(mutex_);
  for (const auto& job : waiting_)
    if (matches(*job)) job->stop.request_stop();
  std::erase_if(waiting_, [&](const auto& job) { return matches(*job); });
  if (replaces == Replaces::running && running_ && matches(*running_)) running_->stop.request_stop();
}

void JobQueue::cancel(const std::string& kind) {
  cancel_if([&](const Job& job) { return job.kind == kind; }, Replaces::running);
}

void JobQueue::cancel_all() {
  cancel_if([](const Job&) { return true; }, Replaces::running);
}

bool JobQueue::idle() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() && !running_;
}

void JobQueue::tell(JobStatus status) {
  if (!status_) return;
  post_([alive = alive_, report = &status_, status = std::move(status)] {
    if (*alive) (*report)(status);
  });
}

void JobQueue::loop() {
  while (true) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
      if (ending_) return;
      job = running_ = waiting_.front();
      waiting_.pop_front();
    }
    run(job);
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      running_.reset();
      last = waiting_.empty();
    }
    if (last) tell({});
  }
}

void JobQueue::run(const std::shared_ptr<Job>& job) {
  tell({job->title, {}, 0, 0});
  Context context(*this, *job);
  // A result that was cancelled while it waited for the owner's thread is not delivered either.
  const auto deliver = [&](Delivery delivery) {
    post_([alive = alive_, job, delivery = std::move(delivery)] {
      if (*alive && delivery && !job->stop.stop_requested()) delivery();
    });
  };
  const auto fail = [&](const Error& error) {
    if (error.code() == Errc::cancelled || !job->failed) return;
    deliver([job, error] { job->failed(error); });
  };
  try {
    deliver(job->work(context));
  } catch (const Error& error) {
    fail(error);
  } catch (const std::bad_alloc&) {
    fail(Error(Errc::out_of_memory, "there is not enough memory for this"));
  } catch (const std::exception& error) {
    fail(Error(Errc::internal, error.what()));
  }
}

}  // namespace headlight::workbench
