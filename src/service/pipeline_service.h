#pragma once

// A bounded queue in front of workers. Knows nothing of HTTP.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancel.h"
#include "service/modes.h"
#include "worker/pipeline_worker.h"

namespace dreamlab {

enum class JobState { queued, running, done, failed, cancelled };
// "queued", "running", ...
std::string_view name_of(JobState state);

// What a listener learns, in order. The last one has state done, failed or cancelled.
struct JobProgress {
  JobState state = JobState::queued;
  int position = 0;  // in the queue, 1: next; 0 once it runs
  int step = 0, steps = 0;
  double step_ms = 0;                    // of the last step
  std::shared_ptr<const Image> preview;  // after a step, where it was asked for
};

struct SubmitOptions {
  bool with_latents = false;
  double timeout_s = 0;  // from submission to result; 0: the service's default
  bool previews = false;
  // Called from the service's threads; must not block. on_progress is never called after on_done.
  std::function<void(const JobProgress&)> on_progress;
  std::function<void(JobOutcome)> on_done;  // exactly once
};

// A job on its way, as seen by who submitted it. Letting go of it does not cancel.
class JobTicket {
 public:
  virtual ~JobTicket() = default;
  virtual const std::string& id() const = 0;    // opaque, unguessable
  virtual const std::string& mode() const = 0;  // that it runs in, "" where modes are not used
  virtual JobProgress progress() const = 0;
  // The job ends by Error(cancelled) within a step; without effect once it has ended.
  virtual void cancel() = 0;
};

struct ServiceStatistics {
  size_t queue_depth = 0, queue_max = 0, active = 0;
  uint64_t submitted = 0, succeeded = 0, failed = 0, cancelled = 0, timed_out = 0, turned_away = 0;
  uint64_t steps = 0, images_in_steps = 0;  // network calls, and jobs they carried together
  double wait_s = 0, run_s = 0;             // sums over ended jobs
  double text_s = 0, denoise_s = 0, decode_s = 0, encode_png_s = 0;
  uint64_t resident_bytes = 0;
  bool ready = false;  // a model is loaded
};

struct ServiceOptions {
  std::string name;  // "SD", "SDXL": for logs and thread names
  size_t queue_max = 64;
  int workers = 1;
  int batch_max = 0;  // jobs that share a call, and that are under way at a time; 0: as measured, and 8
  double timeout_s = 120;
  double tuning_s = 3;       // of idle time for measuring batches once a model is loaded, at most
  double watch_modes_s = 1;  // how often to look whether the modes file has changed; 0: never
  // Bytes that models and batches may still take (ModelSlots, WorkerThread); the system's word where it is empty.
  std::function<uint64_t()> available_bytes;
  // Raised by shut_down(), for the factory to look at while it loads; made where it is null.
  std::shared_ptr<CancelToken> stop;
};

// Makes a worker for a mode (loads its model). Throws Error. Called on a worker's own thread.
using WorkerFactory = std::function<std::shared_ptr<PipelineWorker>(const Mode& mode, int worker_index)>;

class PipelineService {
 public:
  // Returns at once; the first mode loads in the background (ready() tells, load_error() why not). modes: at least the
  // unnamed one, when there is no modes file.
  PipelineService(ServiceOptions options, const std::shared_ptr<ModeRegistry>& modes, const WorkerFactory& factory);
  // As shut_down().
  ~PipelineService();

  // Throws Error: invalid_argument (what the worker's check() finds, an unknown mode), busy (the queue is full),
  // unavailable (no model loaded, or shutting down).
  std::shared_ptr<JobTicket> submit(JobRequest request, SubmitOptions options);

  // Takes its place in the queue. on_done: nullptr or the error for which the old mode goes on serving. Throws Error:
  // not_found (an unknown mode), busy (too many of them are waiting), unavailable (shutting down).
  void switch_mode(const std::string& name, std::function<void(std::exception_ptr)> on_done);
  // Reads the modes file again; takes its place in the queue where the current mode changed. Throws Error where the
  // file cannot be read; the old modes stay.
  void reload_modes();
  std::string current_mode() const;

  bool ready() const;
  std::string load_error() const;  // one line; "" where there is none
  // Of the loaded model; null before. Stays valid while held.
  std::shared_ptr<const PipelineWorker> worker() const;
  ServiceStatistics statistics() const;

  // No new jobs; queued ones end by Error(unavailable), running ones are cancelled within a step by the same error.
  // Every on_done has been called when it returns. Not to be called from one.
  void shut_down();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace dreamlab
