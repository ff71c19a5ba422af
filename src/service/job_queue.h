#pragma once

// What waits for a worker: jobs, and switches of the mode among them, first come first served.
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "service/service_job.h"

namespace dreamlab {

// A change of the current mode on its way. Where modes are read anew, it may lead to the mode of the same name.
class ModeSwitch final : public Delivery {
 public:
  ModeSwitch(Mode mode, std::function<void(std::exception_ptr)> on_done)
      : mode_(std::move(mode)), on_done_(std::move(on_done)) {}

  const Mode& mode() const { return mode_; }
  // error: null where the mode serves now. To be set before it is scheduled with the courier, which tells.
  void set_error(std::exception_ptr error) { error_ = std::move(error); }

  bool taken = false;  // by a worker, which is loading the mode

 private:
  void deliver() override {
    if (const auto on_done = std::exchange(on_done_, nullptr)) on_done(error_);
  }

  const Mode mode_;
  std::function<void(std::exception_ptr)> on_done_;
  std::exception_ptr error_;
};

struct QueueEntry {
  // One of the two.
  std::shared_ptr<ServiceJob> job;
  std::shared_ptr<ModeSwitch> mode_switch;
};

// Not safe to use from several threads: its owner locks.
class JobQueue {
 public:
  explicit JobQueue(size_t max_jobs) : max_jobs_(max_jobs) {}

  bool empty() const { return entries_.empty(); }
  size_t jobs() const { return jobs_; }
  size_t max_jobs() const { return max_jobs_; }
  const QueueEntry& front() const { return entries_.front(); }
  // Where the switches that wait now lead to; null without any.
  const ModeSwitch* last_switch() const;

  // Throw Error(busy) where it is full. Switches are counted apart from jobs, under the same limit.
  void push(std::shared_ptr<ServiceJob> job);
  void push(std::shared_ptr<ModeSwitch> mode_switch);
  void pop_front();
  // Whether the job was in here.
  bool remove(const ServiceJob& job);
  std::deque<QueueEntry> take_all();

 private:
  // Jobs learn their new positions.
  void renumber();

  const size_t max_jobs_;
  std::deque<QueueEntry> entries_;
  size_t jobs_ = 0;
};

}  // namespace dreamlab
