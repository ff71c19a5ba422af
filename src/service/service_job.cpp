#include "service/service_job.h"

#include <fmt/format.h>

#include <random>

#include "base/log.h"

namespace dreamlab {

namespace {

double seconds(Job::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

JobState final_state(const JobOutcome& outcome) {
  const auto* error = std::get_if<Error>(&outcome);
  if (error == nullptr) return JobState::done;
  return error->kind() == ErrorKind::cancelled ? JobState::cancelled : JobState::failed;
}

}  // namespace

std::string_view name_of(JobState state) {
  switch (state) {
    case JobState::queued:
      return "queued";
    case JobState::running:
      return "running";
    case JobState::done:
      return "done";
    case JobState::failed:
      return "failed";
    case JobState::cancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string make_job_id() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", random());
  return id;
}

std::shared_ptr<ServiceJob> ServiceJob::make(JobRequest request, SubmitOptions options, std::string mode,
                                             const std::shared_ptr<JobOwner>& owner,
                                             const std::shared_ptr<Courier>& courier) {
  return std::shared_ptr<ServiceJob>(
      new ServiceJob(std::move(request), std::move(options), std::move(mode), owner, courier));
}

ServiceJob::ServiceJob(JobRequest request, SubmitOptions options, std::string mode,
                       const std::shared_ptr<JobOwner>& owner, const std::shared_ptr<Courier>& courier)
    : id_(make_job_id()),
      options_(std::move(options)),
      has_listener_(static_cast<bool>(options_.on_progress)),
      presumed_mode_(std::move(mode)),
      owner_(owner),
      courier_(courier),
      job_(
          std::move(request), [this](JobOutcome outcome) { end(std::move(outcome)); }, options_.with_latents) {}

ServiceJob::~ServiceJob() {
  courier_->forget(deadline(), this);
}

JobProgress ServiceJob::progress() const {
  const std::lock_guard lock(mutex_);
  return present_;
}

void ServiceJob::cancel() {
  fail(Error(ErrorKind::cancelled, "the job was cancelled"));
}

ServiceJob::Clock::time_point ServiceJob::deadline() const {
  return job_.submitted() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.timeout_s));
}

void ServiceJob::start_clock() {
  courier_->remind(deadline(), shared_from_this());
}

void ServiceJob::set_position(int position) {
  const std::lock_guard lock(mutex_);
  if (ended_ || present_.position == position) return;
  present_.position = position;
  announce();
}

void ServiceJob::set_mode(const std::string& mode) {
  if (mode == presumed_mode_) return;
  mode_known_ = mode;
  mode_.store(&mode_known_, std::memory_order_release);
}

void ServiceJob::set_running() {
  const std::lock_guard lock(mutex_);
  if (ended_) return;
  started_ = Clock::now();
  present_.state = JobState::running;
  present_.position = 0;
  announce();
}

void ServiceJob::set_steps(int steps) {
  const std::lock_guard lock(mutex_);
  present_.steps = steps;
}

void ServiceJob::set_step(int step, int steps, double step_ms, std::shared_ptr<const Image> preview) {
  const std::lock_guard lock(mutex_);
  if (ended_) return;
  present_.step = step;
  present_.steps = steps;
  present_.step_ms = step_ms;
  present_.preview = std::move(preview);
  announce();
}

void ServiceJob::announce() noexcept {
  if (!has_listener_) return;
  try {
    pending_.push_back(present_);
  } catch (const std::bad_alloc&) {
    return;  // progress may be lost, results may not
  }
  courier_->schedule(shared_from_this());
}

void ServiceJob::succeed(JobResult result) {
  job_.succeed(std::move(result));
}

void ServiceJob::fail(const Error& error) {
  // The token after the outcome: whoever sees it raised finds the job ended.
  if (job_.fail(error)) job_.cancel_token().cancel();
}

void ServiceJob::end(JobOutcome outcome) {
  const std::shared_ptr<ServiceJob> self = weak_from_this().lock();
  // Destroyed before it was ever queued: whoever submitted it has the exception.
  if (!self) return;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    ended_at_ = Clock::now();
    if (started_ == Clock::time_point()) started_ = ended_at_;
    present_.state = final_state(outcome);
    present_.position = 0;
    if (const auto* error = std::get_if<Error>(&outcome)) error_kind_ = error->kind();
  }
  courier_->forget(deadline(), this);
  const std::shared_ptr<JobOwner> owner = owner_.lock();
  if (owner) owner->job_ended(*this);
  {
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
    announce();
  }
  courier_->schedule(self);
  if (owner) owner->job_told();
}

void ServiceJob::deliver() {
  std::vector<JobProgress> pending;
  std::optional<JobOutcome> outcome;
  {
    const std::lock_guard lock(mutex_);
    pending.swap(pending_);
    outcome.swap(outcome_);
  }
  try {
    for (const JobProgress& progress : pending) options_.on_progress(progress);
  } catch (const std::exception& error) {
    log::error("a listener to a job's progress threw: {}", error.what());
  }
  if (!outcome) return;
  // Let go of, since they may hold this job's ticket.
  const auto on_done = std::exchange(options_.on_done, nullptr);
  options_.on_progress = nullptr;
  if (on_done) on_done(std::move(*outcome));
}

void ServiceJob::expire() {
  fail(Error(ErrorKind::timeout, fmt::format("timed out: no result within {:g} s", options_.timeout_s)));
}

ErrorKind ServiceJob::error_kind() const {
  const std::lock_guard lock(mutex_);
  return error_kind_;
}

bool ServiceJob::succeeded() const {
  const std::lock_guard lock(mutex_);
  return present_.state == JobState::done;
}

double ServiceJob::wait_s() const {
  const std::lock_guard lock(mutex_);
  return seconds(started_ - job_.submitted());
}

double ServiceJob::run_s() const {
  const std::lock_guard lock(mutex_);
  return seconds(ended_at_ - started_);
}

}  // namespace dreamlab
