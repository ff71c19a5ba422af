#pragma once

// What the callers of a service and its workers share: the queue, the current mode, who runs what, the counts. Safe to
// use from several threads; has none of its own but the courier.
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "service/job_queue.h"
#include "service/pipeline_service.h"
#include "service/running_pass.h"

namespace dreamlab {

// What a worker's thread is to do next.
struct Assignment {
  enum class Kind {
    nothing,      // that this worker could do now
    stop,         // for good
    load,         // the current mode's model
    mode_switch,  // load that mode's model, and say how it went
    job,          // start it, in that mode
    refuse_job,   // fail it with the error
  };
  Kind kind = Kind::nothing;
  std::shared_ptr<ServiceJob> job;
  std::shared_ptr<ModeSwitch> mode_switch;
  Mode mode;
  std::optional<Error> error;
};

// Whether a worker can take a job now.
enum class Admission { yes, needs_model, no_room };
using Admit = std::function<Admission(const ServiceJob& job, const Mode& mode)>;

class ServiceCore final : public JobOwner, public std::enable_shared_from_this<ServiceCore> {
 public:
  ServiceCore(ServiceOptions options, std::shared_ptr<ModeRegistry> modes);

  // --- PipelineService's callers ---
  std::shared_ptr<JobTicket> submit(JobRequest request, SubmitOptions options);
  void switch_mode(const std::string& name, std::function<void(std::exception_ptr)> on_done);
  void reload_modes();
  std::string current_mode() const;
  bool ready() const;
  std::string load_error() const;
  std::shared_ptr<const PipelineWorker> worker() const;
  ServiceStatistics statistics() const;
  // Ends everything that waits or runs by Error(unavailable), and takes nothing new.
  void close();
  // After the workers have stopped: waits until every job's listeners have been told.
  void finish_deliveries();

  const ServiceOptions& options() const { return options_; }

  // --- the workers' threads; worker: 0, 1, ... ---
  // idle: the worker has no jobs, so that it may load a model. wait: rather than to come back with nothing, where idle.
  Assignment next(int worker, bool idle, bool wait, const Admit& admit);
  bool has_work() const;
  bool is_current(const Mode& mode) const;
  RunningPass& running_pass(int worker) { return *seats_[static_cast<size_t>(worker)].pass; }
  // How an Assignment to load ended: with the model or an error.
  void model_loaded(int worker, const Mode& mode, std::shared_ptr<PipelineWorker> model);
  void model_failed(int worker, const Mode& mode, const Error& error);
  // The current mode's model makes room for another one and will be loaded again when it is needed.
  void model_parked(int worker);
  // How a switch ended. Where it failed, the mode before goes on.
  void switched(int worker, const std::shared_ptr<ModeSwitch>& mode_switch, std::shared_ptr<PipelineWorker> model);
  void switch_failed(const std::shared_ptr<ModeSwitch>& mode_switch, const Error& error);
  void count_step(size_t jobs, double seconds);
  void count_result(const GenerationTimings& timings, double encode_png_ms);

  void job_ended(ServiceJob& job) noexcept override;
  void job_told() noexcept override;

 private:
  // One worker's place.
  struct Seat {
    std::shared_ptr<RunningPass> pass = std::make_shared<RunningPass>();
    std::shared_ptr<PipelineWorker> model;  // of the current mode, once it is loaded
    bool failed = false;                    // the current mode did not load
    bool parked = false;                    // it was given up for another model, for a while
    bool waiting = false;
  };

  // All with mutex_ held.
  bool is_ready() const;
  std::string expected_mode(const JobRequest& request) const;
  void enqueue_switch(Mode mode, std::function<void(std::exception_ptr)> on_done);
  Assignment look_at_queue(Seat& seat, bool idle, const Admit& admit);
  Assignment look_at_job(Seat& seat, bool idle, const Admit& admit);
  bool someone_else_waits(const Seat& seat) const;

  // Lets calibrations make way for work.
  void interrupt_passes();

  const ServiceOptions options_;
  const std::shared_ptr<ModeRegistry> modes_;
  const std::shared_ptr<Courier> courier_;
  std::vector<Seat> seats_;

  mutable std::mutex mutex_;
  std::condition_variable wake_, told_;
  JobQueue queue_;
  std::unordered_map<const ServiceJob*, std::shared_ptr<ServiceJob>> running_;
  Mode current_;
  std::string load_error_;
  bool closing_ = false;
  size_t untold_ = 0;  // jobs whose result has not yet been handed to the courier
  ServiceStatistics counts_;
};

}  // namespace dreamlab
