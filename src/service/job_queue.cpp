#include "service/job_queue.h"

#include <algorithm>

namespace dreamlab {

const ModeSwitch* JobQueue::last_switch() const {
  const auto last =
      std::find_if(entries_.rbegin(), entries_.rend(), [](const QueueEntry& entry) { return entry.mode_switch; });
  return last == entries_.rend() ? nullptr : last->mode_switch.get();
}

void JobQueue::push(std::shared_ptr<ServiceJob> job) {
  if (jobs_ >= max_jobs_) fail(ErrorKind::busy, "the queue is full: {} jobs are waiting", jobs_);
  entries_.push_back({std::move(job), nullptr});
  entries_.back().job->set_position(static_cast<int>(++jobs_));
}

void JobQueue::push(std::shared_ptr<ModeSwitch> mode_switch) {
  const size_t switches = entries_.size() - jobs_;
  if (switches >= max_jobs_) fail(ErrorKind::busy, "the queue is full: {} switches of the mode are waiting", switches);
  entries_.push_back({nullptr, std::move(mode_switch)});
}

void JobQueue::pop_front() {
  if (entries_.front().job) --jobs_;
  entries_.pop_front();
  renumber();
}

bool JobQueue::remove(const ServiceJob& job) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const QueueEntry& entry) { return entry.job.get() == &job; });
  if (found == entries_.end()) return false;
  entries_.erase(found);
  --jobs_;
  renumber();
  return true;
}

std::deque<QueueEntry> JobQueue::take_all() {
  jobs_ = 0;
  return std::exchange(entries_, {});
}

void JobQueue::renumber() {
  int position = 0;
  for (const QueueEntry& entry : entries_) {
    if (entry.job) entry.job->set_position(++position);
  }
}

}  // namespace dreamlab
