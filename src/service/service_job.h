#pragma once

// A job on its way through a service: the job itself, its deadline, and what its listeners are still to be told.
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "service/courier.h"
#include "service/pipeline_service.h"

namespace dreamlab {

class ServiceJob;

// Whoever keeps jobs, and wants to know when one has ended, however that came.
class JobOwner {
 public:
  virtual ~JobOwner() = default;
  // Called once for a job, from whichever thread ended it, before the job's listeners hear of it.
  virtual void job_ended(ServiceJob& job) noexcept = 0;
  // Called once for a job after that: its listeners are about to hear.
  virtual void job_told() noexcept = 0;
};

class ServiceJob final : public JobTicket, public Delivery, public std::enable_shared_from_this<ServiceJob> {
 public:
  using Clock = Job::Clock;

  // mode: that it will presumably run in.
  static std::shared_ptr<ServiceJob> make(JobRequest request, SubmitOptions options, std::string mode,
                                          const std::shared_ptr<JobOwner>& owner,
                                          const std::shared_ptr<Courier>& courier);
  ~ServiceJob() override;

  const std::string& id() const override { return id_; }
  const std::string& mode() const override { return *mode_.load(std::memory_order_acquire); }
  JobProgress progress() const override;
  void cancel() override;

  const Job& job() const { return job_; }
  const JobRequest& request() const { return job_.request(); }
  bool previews() const { return options_.previews; }
  Clock::time_point deadline() const;
  bool ended() const { return job_.ended(); }

  // --- for the owner ---
  // Has its deadline enforced from now on.
  void start_clock();
  // In the queue, 1: next.
  void set_position(int position);
  // Its mode is known. Only once.
  void set_mode(const std::string& mode);
  void set_running();
  void set_steps(int steps);
  void set_step(int step, int steps, double step_ms, std::shared_ptr<const Image> preview);
  // Each is without effect on a job that has ended.
  void succeed(JobResult result);
  void fail(const Error& error);

  // Of a job that has ended.
  ErrorKind error_kind() const;  // of one that failed
  bool succeeded() const;
  // Seconds from submission to the start, and from there to the end.
  double wait_s() const;
  double run_s() const;

 private:
  ServiceJob(JobRequest request, SubmitOptions options, std::string mode, const std::shared_ptr<JobOwner>& owner,
             const std::shared_ptr<Courier>& courier);

  void end(JobOutcome outcome);
  void deliver() override;
  void expire() override;
  // Adds present_ to what the listener is to be told. With mutex_ held.
  void announce() noexcept;

  const std::string id_;
  SubmitOptions options_;
  const bool has_listener_;
  const std::string presumed_mode_;
  std::string mode_known_;
  std::atomic<const std::string*> mode_{&presumed_mode_};
  const std::weak_ptr<JobOwner> owner_;
  const std::shared_ptr<Courier> courier_;

  mutable std::mutex mutex_;
  JobProgress present_;
  std::vector<JobProgress> pending_;
  std::optional<JobOutcome> outcome_;  // taken out once it is delivered
  bool ended_ = false;
  ErrorKind error_kind_ = ErrorKind::internal;
  Clock::time_point started_, ended_at_;

  Job job_;  // the last member: it may deliver while it is destroyed
};

// 32 hexadecimal digits from the system's random numbers.
std::string make_job_id();

}  // namespace dreamlab
