#include "service/super_resolution_service.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "base/elapsed.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "pipeline/upscaler.h"

namespace dreamlab {
namespace {

using Clock = std::chrono::steady_clock;

// How often deadlines and the callers' tokens are looked at while there are jobs.
constexpr std::chrono::milliseconds kWatchInterval{10};

struct UpscaleJob {
  SuperResolutionRequest request;
  std::function<void(SuperResolutionOutcome)> on_done;
  Clock::time_point deadline;
  CancelToken stop;    // the worker's, raised once the outcome is known; the caller's own is left to the caller
  bool ended = false;  // the outcome has been, or is being, delivered; guarded by the service's mutex
};
using JobPointer = std::shared_ptr<UpscaleJob>;

// What is wrong with the job before anyone has worked on it.
std::optional<Error> reason_to_stop(const UpscaleJob& job, Clock::time_point now, double timeout_s) {
  if (job.request.cancel->cancelled()) return Error(ErrorKind::cancelled, "cancelled");
  if (now >= job.deadline)
    return Error(ErrorKind::timeout, fmt::format("timed out: not upscaled within {:g} s", timeout_s));
  return std::nullopt;
}

DeviceChoice device_of_worker(const SuperResolutionOptions& options) {
  DeviceChoice choice = options.device;
  if (choice.threads == 0) choice.threads = std::max(1, available_processors() / std::max(1, options.workers));
  return choice;
}

}  // namespace

class SuperResolutionService::Impl {
 public:
  explicit Impl(const SuperResolutionOptions& options) : options_(options) {
    options_.timeout_s = std::min(options_.timeout_s, kLongestTimeout_s);
    for (int i = 0; i < std::max(1, options.workers); ++i)
      upscalers_.push_back(std::make_unique<Upscaler>(
          UpscalerOptions{.path = options.model_path, .device = device_of_worker(options), .npu = options.npu}));
    active_.reserve(upscalers_.size());
    try {
      for (const auto& upscaler : upscalers_) threads_.emplace_back([this, &upscaler] { work(*upscaler); });
      threads_.emplace_back([this] { watch(); });
    } catch (...) {
      shut_down();  // the threads that were started wait for work
      throw;
    }
  }

  std::shared_ptr<CancelToken> submit(SuperResolutionRequest request,
                                      std::function<void(SuperResolutionOutcome)> on_done) {
    check(request);
    const auto job = std::make_shared<UpscaleJob>();
    job->deadline =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.timeout_s));
    if (!request.cancel) request.cancel = std::make_shared<CancelToken>();
    std::shared_ptr<CancelToken> token = request.cancel;
    job->request = std::move(request);
    job->on_done = std::move(on_done);
    const std::lock_guard lock(mutex_);
    if (stopping_) fail(ErrorKind::unavailable, "the server is shutting down");
    if (queue_.size() >= options_.queue_max) {
      ++statistics_.turned_away;
      fail(ErrorKind::busy, "{} pictures wait for super-resolution, which is the most; try again later", queue_.size());
    }
    queue_.push_back(job);
    work_.notify_one();
    watch_.notify_one();
    return token;
  }

  SuperResolutionStatistics statistics() const {
    const std::lock_guard lock(mutex_);
    SuperResolutionStatistics statistics = statistics_;
    statistics.queue_depth = queue_.size();
    statistics.queue_max = options_.queue_max;
    statistics.active = active_.size();
    return statistics;
  }

  void shut_down() {
    std::call_once(shut_down_once_, [this] {
      std::vector<JobPointer> jobs;
      {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        jobs.assign(queue_.begin(), queue_.end());
        jobs.insert(jobs.end(), active_.begin(), active_.end());
        queue_.clear();
        work_.notify_all();
        watch_.notify_all();
      }
      for (const JobPointer& job : jobs) end(*job, Error(ErrorKind::unavailable, "the server is shutting down"));
      for (std::thread& thread : threads_) thread.join();
    });
  }

  const Upscaler& upscaler() const { return *upscalers_.front(); }

 private:
  void check(const SuperResolutionRequest& request) const {
    if (!request.picture || request.picture->pixels.empty())
      fail(ErrorKind::invalid_argument, "there is no picture to upscale");
    if (request.quality < 1 || request.quality > 100)
      fail(ErrorKind::invalid_argument, "quality {}: out of range; 1..100 is allowed", request.quality);
    upscaled_size({request.picture->width, request.picture->height}, upscaler().scale(), request.magnitude,
                  options_.max_pixels);
    check_can_hold(request.format, *request.picture);
  }

  void work(const Upscaler& upscaler) {
    for (;;) {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      const JobPointer job = queue_.front();
      queue_.pop_front();
      active_.push_back(job);
      lock.unlock();
      const Clock::time_point start = Clock::now();
      SuperResolutionOutcome outcome = run(upscaler, *job);
      lock.lock();
      std::erase(active_, job);
      statistics_.run_s += seconds_since(start);
      lock.unlock();
      end(*job, std::move(outcome));
    }
  }

  SuperResolutionOutcome run(const Upscaler& upscaler, const UpscaleJob& job) const noexcept {
    try {
      if (const auto reason = reason_to_stop(job, Clock::now(), options_.timeout_s)) return *reason;
      const Clock::time_point start = Clock::now();
      const SuperResolutionRequest& request = job.request;
      const Image picture = upscaler.upscale(
          *request.picture,
          {.passes = request.magnitude, .max_pixels = options_.max_pixels, .cancel = &job.stop, .on_tile = {}});
      job.stop.throw_if_cancelled();
      SuperResolutionResult result;
      result.bytes = encode_image(picture, request.format, {.quality = request.quality, .texts = request.texts});
      result.width = picture.width;
      result.height = picture.height;
      result.model = upscaler.model();
      result.passes = request.magnitude;
      result.scale_per_pass = upscaler.scale();
      result.run_ms = 1000 * seconds_since(start);
      return result;
    } catch (const Error& error) {
      return error;
    } catch (const std::bad_alloc&) {
      return Error(ErrorKind::out_of_memory, "not enough memory to upscale the picture");
    } catch (const std::exception& error) {
      return Error(ErrorKind::internal, error.what());
    }
  }

  // Ends what has been cancelled or is late, wherever it is.
  void watch() {
    std::unique_lock lock(mutex_);
    for (;;) {
      watch_.wait(lock, [&] { return stopping_ || !queue_.empty() || !active_.empty(); });
      if (stopping_) return;
      watch_.wait_for(lock, kWatchInterval, [&] { return stopping_; });
      const std::vector<StoppedJob> stopped = take_stopped();
      lock.unlock();
      for (const StoppedJob& item : stopped) end(*item.job, item.reason);
      lock.lock();
    }
  }

  struct StoppedJob {
    JobPointer job;
    Error reason;
  };

  // With mutex_ held. Those that wait leave the queue; those that are worked on are left to their workers.
  std::vector<StoppedJob> take_stopped() noexcept {
    std::vector<StoppedJob> stopped;
    const Clock::time_point now = Clock::now();
    const auto look_at = [&](const JobPointer& job) {
      if (job->ended) return;
      if (const auto reason = reason_to_stop(*job, now, options_.timeout_s)) stopped.push_back({job, *reason});
    };
    try {
      for (const JobPointer& job : queue_) look_at(job);
      for (const JobPointer& job : active_) look_at(job);
    } catch (const std::bad_alloc&) {
      log::warn("super-resolution: no memory to end a job that is late");  // the next look finds the rest
    }
    std::erase_if(queue_, [&](const JobPointer& job) {
      return std::any_of(stopped.begin(), stopped.end(), [&](const StoppedJob& item) { return item.job == job; });
    });
    return stopped;
  }

  // Delivers the outcome unless another one has been.
  void end(UpscaleJob& job, SuperResolutionOutcome outcome) noexcept {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(job.ended, true)) return;
      count(outcome);
    }
    job.stop.cancel();
    try {
      job.on_done(std::move(outcome));
    } catch (const std::exception& error) {
      log::error("super-resolution: the receiver of a result failed: {}", error.what());
    }
    job.on_done = nullptr;  // with all that it holds
  }

  void count(const SuperResolutionOutcome& outcome) {
    const auto* error = std::get_if<Error>(&outcome);
    if (error == nullptr)
      ++statistics_.succeeded;
    else if (error->kind() == ErrorKind::timeout)
      ++statistics_.timed_out;
    else if (error->kind() == ErrorKind::cancelled || error->kind() == ErrorKind::unavailable)
      ++statistics_.cancelled;
    else
      ++statistics_.failed;
  }

  SuperResolutionOptions options_;
  std::vector<std::unique_ptr<Upscaler>> upscalers_;  // one a worker

  mutable std::mutex mutex_;
  std::condition_variable work_, watch_;
  std::deque<JobPointer> queue_;
  std::vector<JobPointer> active_;
  SuperResolutionStatistics statistics_;
  bool stopping_ = false;

  std::once_flag shut_down_once_;
  std::vector<std::thread> threads_;
};

SuperResolutionService::SuperResolutionService(const SuperResolutionOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}

SuperResolutionService::~SuperResolutionService() {
  shut_down();
}

std::shared_ptr<CancelToken> SuperResolutionService::submit(SuperResolutionRequest request,
                                                            std::function<void(SuperResolutionOutcome)> on_done) {
  return impl_->submit(std::move(request), std::move(on_done));
}

const std::string& SuperResolutionService::model() const {
  return impl_->upscaler().model();
}

int SuperResolutionService::scale() const {
  return impl_->upscaler().scale();
}

SuperResolutionStatistics SuperResolutionService::statistics() const {
  return impl_->statistics();
}

void SuperResolutionService::shut_down() {
  impl_->shut_down();
}

}  // namespace dreamlab
