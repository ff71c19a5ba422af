#pragma once

// A job that a test has submitted, and all that its listeners were told.
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "service/pipeline_service.h"

namespace dreamlab {

class SubmittedJob {
 public:
  SubmittedJob(PipelineService& service, JobRequest request, SubmitOptions options = {}) : log_(new Log) {
    options.on_progress = [log = log_](const JobProgress& progress) {
      const std::lock_guard lock(log->mutex);
      if (log->outcomes > 0) log->late = true;
      log->progress.push_back(progress);
      log->changed.notify_all();
    };
    options.on_done = [log = log_](JobOutcome outcome) {
      const std::lock_guard lock(log->mutex);
      ++log->outcomes;
      log->outcome = std::move(outcome);
      log->changed.notify_all();
    };
    ticket_ = service.submit(std::move(request), std::move(options));
  }

  JobTicket& ticket() const { return *ticket_; }
  // Waits for the outcome. Throws its error.
  JobResult result() const {
    const JobOutcome outcome = wait();
    if (const auto* error = std::get_if<Error>(&outcome)) throw *error;
    return std::get<JobResult>(outcome);
  }
  // The picture that a scripted worker makes.
  std::string text() const {
    const JobResult made = result();
    return {made.png.begin(), made.png.end()};
  }
  // Waits for an error; nullopt where there is a result instead.
  std::optional<ErrorKind> error() const {
    const JobOutcome outcome = wait();
    const auto* error = std::get_if<Error>(&outcome);
    return error == nullptr ? std::nullopt : std::optional(error->kind());
  }
  bool ended() const {
    const std::lock_guard lock(log_->mutex);
    return log_->outcomes > 0;
  }
  int outcomes() const {
    const std::lock_guard lock(log_->mutex);
    return log_->outcomes;
  }
  std::vector<JobProgress> progress() const {
    const std::lock_guard lock(log_->mutex);
    return log_->progress;
  }
  // Whether progress was told after the outcome.
  bool late() const {
    const std::lock_guard lock(log_->mutex);
    return log_->late;
  }
  // Waits until progress like that has been told. False: it did not come to that.
  bool wait_for(const std::function<bool(const JobProgress&)>& like) const {
    std::unique_lock lock(log_->mutex);
    return log_->changed.wait_for(lock, std::chrono::seconds(60), [&] {
      for (const JobProgress& progress : log_->progress) {
        if (like(progress)) return true;
      }
      return false;
    });
  }

 private:
  struct Log {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<JobProgress> progress;
    std::optional<JobOutcome> outcome;
    int outcomes = 0;
    bool late = false;
  };

  JobOutcome wait() const {
    std::unique_lock lock(log_->mutex);
    if (!log_->changed.wait_for(lock, std::chrono::seconds(60), [&] { return log_->outcomes > 0; })) {
      return Error(ErrorKind::internal, "the test waited for an outcome in vain");
    }
    return *log_->outcome;
  }

  std::shared_ptr<Log> log_;
  std::shared_ptr<JobTicket> ticket_;
};

inline JobRequest request_of(const std::string& prompt, std::optional<int> steps = {}, const std::string& size = "") {
  JobRequest request;
  request.prompt = prompt;
  request.steps = steps;
  request.size = size;
  return request;
}

// Waits until the service's first model is loaded, or did not load.
inline bool wait_until_ready(const PipelineService& service) {
  for (int i = 0; i < 60'000 && !service.ready() && service.load_error().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return service.ready();
}

}  // namespace dreamlab
