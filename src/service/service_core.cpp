#include "service/service_core.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/elapsed.h"
#include "base/log.h"
#include "service/resident_memory.h"

namespace dreamlab {

namespace {

ServiceOptions completed(ServiceOptions options) {
  options.workers = std::max(1, options.workers);
  if (!options.available_bytes) options.available_bytes = available_bytes;
  if (!options.stop) options.stop = std::make_shared<CancelToken>();
  return options;
}

Mode first_mode(const ModeRegistry& modes) {
  std::optional<Mode> mode = modes.find(modes.default_mode());
  if (!mode) fail(ErrorKind::invalid_argument, "mode '{}', the default, is not there", modes.default_mode());
  return *std::move(mode);
}

std::string names_of(const ModeRegistry& modes) {
  std::vector<std::string> names;
  for (const Mode& mode : modes.modes()) names.push_back(mode.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

Error unknown_mode(const ModeRegistry& modes, ErrorKind kind, const std::string& name) {
  if (!modes.named()) return {kind, fmt::format("unknown mode '{}': this server has no modes", name)};
  return {kind, fmt::format("unknown mode '{}': one of {}", name, names_of(modes))};
}

Error shutting_down() {
  return {ErrorKind::unavailable, "shutting down"};
}

}  // namespace

ServiceCore::ServiceCore(ServiceOptions options, std::shared_ptr<ModeRegistry> modes)
    : options_(completed(std::move(options))),
      modes_(std::move(modes)),
      courier_(std::make_shared<Courier>(options_.name + " events")),
      seats_(static_cast<size_t>(options_.workers)),
      queue_(options_.queue_max),
      current_(first_mode(*modes_)) {}

std::shared_ptr<JobTicket> ServiceCore::submit(JobRequest request, SubmitOptions options) {
  if (!request.size.empty()) parse_size(request.size);
  if (options.timeout_s <= 0) options.timeout_s = options_.timeout_s;
  options.timeout_s = std::min(options.timeout_s, kLongestTimeout_s);
  if (!request.mode.empty() && !modes_->find(request.mode)) {
    throw unknown_mode(*modes_, ErrorKind::invalid_argument, request.mode);
  }

  std::string mode;
  std::shared_ptr<const PipelineWorker> checker;
  {
    const std::lock_guard lock(mutex_);
    mode = expected_mode(request);
    // Another mode's model may not be loaded now; its worker checks the request when it is.
    if (mode == current_.name && queue_.last_switch() == nullptr) {
      for (const Seat& seat : seats_) checker = checker ? checker : seat.model;
    }
  }
  if (checker) checker->check(request);

  const auto job =
      ServiceJob::make(std::move(request), std::move(options), std::move(mode), shared_from_this(), courier_);
  {
    const std::lock_guard lock(mutex_);
    if (closing_) throw shutting_down();
    if (!is_ready()) {
      fail(ErrorKind::unavailable, "no model is loaded: {}", load_error_.empty() ? "it is loading" : load_error_);
    }
    if (queue_.jobs() >= queue_.max_jobs()) ++counts_.turned_away;
    queue_.push(job);
    try {
      job->start_clock();
    } catch (...) {
      queue_.remove(*job);
      throw;
    }
    ++counts_.submitted;
    ++untold_;
    wake_.notify_all();
  }
  interrupt_passes();
  return job;
}

std::string ServiceCore::expected_mode(const JobRequest& request) const {
  if (!request.mode.empty()) return request.mode;
  const ModeSwitch* last = queue_.last_switch();
  return last != nullptr ? last->mode().name : current_.name;
}

void ServiceCore::switch_mode(const std::string& name, std::function<void(std::exception_ptr)> on_done) {
  std::optional<Mode> mode = modes_->named() ? modes_->find(name) : std::nullopt;
  if (!mode) throw unknown_mode(*modes_, ErrorKind::not_found, name);
  {
    const std::lock_guard lock(mutex_);
    enqueue_switch(*std::move(mode), std::move(on_done));
  }
  interrupt_passes();
}

void ServiceCore::enqueue_switch(Mode mode, std::function<void(std::exception_ptr)> on_done) {
  if (closing_) throw shutting_down();
  queue_.push(std::make_shared<ModeSwitch>(std::move(mode), std::move(on_done)));
  wake_.notify_all();
}

void ServiceCore::reload_modes() {
  modes_->reload();
  {
    const std::lock_guard lock(mutex_);
    const ModeSwitch* last = queue_.last_switch();
    const Mode& leads_to = last != nullptr ? last->mode() : current_;
    std::optional<Mode> mode = modes_->find(leads_to.name);
    if (!mode) mode = first_mode(*modes_);
    if (*mode == leads_to && is_ready()) return;
    const std::string name = mode->name;
    enqueue_switch(*std::move(mode), [name](const std::exception_ptr& failed) {
      try {
        if (failed) std::rethrow_exception(failed);
      } catch (const std::exception& error) {
        log::error("mode '{}' as it is now in the modes file does not load; the one before goes on: {}", name,
                   error.what());
      }
    });
  }
  interrupt_passes();
}

std::string ServiceCore::current_mode() const {
  const std::lock_guard lock(mutex_);
  return current_.name;
}

bool ServiceCore::is_ready() const {
  return std::any_of(seats_.begin(), seats_.end(), [](const Seat& seat) { return seat.model || seat.parked; });
}

bool ServiceCore::ready() const {
  const std::lock_guard lock(mutex_);
  return is_ready() && !closing_;
}

std::string ServiceCore::load_error() const {
  const std::lock_guard lock(mutex_);
  return load_error_;
}

std::shared_ptr<const PipelineWorker> ServiceCore::worker() const {
  const std::lock_guard lock(mutex_);
  for (const Seat& seat : seats_) {
    if (seat.model) return seat.model;
  }
  return nullptr;
}

ServiceStatistics ServiceCore::statistics() const {
  ServiceStatistics statistics;
  {
    const std::lock_guard lock(mutex_);
    statistics = counts_;
    statistics.queue_depth = queue_.jobs();
    statistics.queue_max = queue_.max_jobs();
    statistics.active = running_.size();
    statistics.ready = is_ready() && !closing_;
  }
  statistics.resident_bytes = resident_bytes();
  return statistics;
}

void ServiceCore::close() {
  std::deque<QueueEntry> waiting;
  std::vector<std::shared_ptr<ServiceJob>> running;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    waiting = queue_.take_all();
    for (const auto& entry : running_) running.push_back(entry.second);
    wake_.notify_all();
  }
  options_.stop->cancel();
  interrupt_passes();
  for (const QueueEntry& entry : waiting) {
    if (entry.job) {
      entry.job->fail(shutting_down());
    } else if (!entry.mode_switch->taken) {
      entry.mode_switch->set_error(std::make_exception_ptr(shutting_down()));
      courier_->schedule(entry.mode_switch);
    }
  }
  for (const std::shared_ptr<ServiceJob>& job : running) job->fail(shutting_down());
}

void ServiceCore::finish_deliveries() {
  {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [this] { return untold_ == 0; });
  }
  courier_->stop();
}

void ServiceCore::interrupt_passes() {
  for (Seat& seat : seats_) seat.pass->interrupt();
}

bool ServiceCore::has_work() const {
  const std::lock_guard lock(mutex_);
  return closing_ || !queue_.empty();
}

bool ServiceCore::is_current(const Mode& mode) const {
  const std::lock_guard lock(mutex_);
  return mode == current_;
}

Assignment ServiceCore::next(int worker, bool idle, bool wait, const Admit& admit) {
  Seat& seat = seats_[static_cast<size_t>(worker)];
  std::unique_lock lock(mutex_);
  while (true) {
    if (closing_) return {Assignment::Kind::stop, nullptr, nullptr, {}, {}};
    const bool wants_model = !seat.model && !seat.failed && !(seat.parked && !queue_.empty());
    if (idle && wants_model) return {Assignment::Kind::load, nullptr, nullptr, current_, {}};
    Assignment found = look_at_queue(seat, idle, admit);
    if (found.kind != Assignment::Kind::nothing || !idle || !wait) return found;
    seat.waiting = true;
    wake_.wait(lock);
    seat.waiting = false;
  }
}

Assignment ServiceCore::look_at_queue(Seat& seat, bool idle, const Admit& admit) {
  if (queue_.empty()) return {};
  const QueueEntry& head = queue_.front();
  if (head.job) return look_at_job(seat, idle, admit);
  if (!idle || head.mode_switch->taken) return {};
  head.mode_switch->taken = true;
  return {Assignment::Kind::mode_switch, nullptr, head.mode_switch, head.mode_switch->mode(), {}};
}

Assignment ServiceCore::look_at_job(Seat& seat, bool idle, const Admit& admit) {
  // Workers without jobs go first.
  if (!idle && someone_else_waits(seat)) return {};
  Assignment found{Assignment::Kind::job, queue_.front().job, nullptr, current_, {}};
  const std::string& wanted = found.job->request().mode;
  if (!wanted.empty() && wanted != current_.name) {
    const std::optional<Mode> mode = modes_->find(wanted);
    if (mode) {
      found.mode = *mode;
    } else {
      found.kind = Assignment::Kind::refuse_job;
      found.error = unknown_mode(*modes_, ErrorKind::invalid_argument, wanted);
    }
  } else if (!seat.model && seat.failed) {
    if (is_ready()) return {};  // others have the model
    found.kind = Assignment::Kind::refuse_job;
    found.error = Error(ErrorKind::unavailable, fmt::format("no model is loaded: {}", load_error_));
  }
  if (found.kind == Assignment::Kind::job) {
    const Admission admission = admit(*found.job, found.mode);
    if (admission == Admission::no_room || (admission == Admission::needs_model && !idle)) return {};
    found.job->set_mode(found.mode.name);
  }
  running_.emplace(found.job.get(), found.job);
  queue_.pop_front();
  wake_.notify_all();
  return found;
}

bool ServiceCore::someone_else_waits(const Seat& seat) const {
  return std::any_of(seats_.begin(), seats_.end(),
                     [&](const Seat& other) { return &other != &seat && other.waiting && other.model; });
}

void ServiceCore::model_loaded(int worker, const Mode& mode, std::shared_ptr<PipelineWorker> model) {
  const std::lock_guard lock(mutex_);
  // Another worker may have switched meanwhile: then this one is told to load again.
  if (mode == current_) {
    Seat& seat = seats_[static_cast<size_t>(worker)];
    seat.model = std::move(model);
    seat.failed = seat.parked = false;
    load_error_.clear();
  }
  wake_.notify_all();
}

void ServiceCore::model_failed(int worker, const Mode& mode, const Error& error) {
  const std::lock_guard lock(mutex_);
  if (mode == current_) {
    Seat& seat = seats_[static_cast<size_t>(worker)];
    seat.model = nullptr;
    seat.failed = true;
    seat.parked = false;
    load_error_ = error.what();
  }
  wake_.notify_all();
}

void ServiceCore::model_parked(int worker) {
  const std::lock_guard lock(mutex_);
  Seat& seat = seats_[static_cast<size_t>(worker)];
  seat.parked = seat.parked || seat.model;
  seat.model = nullptr;
}

void ServiceCore::switched(int worker, const std::shared_ptr<ModeSwitch>& mode_switch,
                           std::shared_ptr<PipelineWorker> model) {
  {
    const std::lock_guard lock(mutex_);
    for (Seat& seat : seats_) {
      seat.model = nullptr;
      seat.failed = seat.parked = false;
    }
    seats_[static_cast<size_t>(worker)].model = std::move(model);
    current_ = mode_switch->mode();
    load_error_.clear();
    if (!queue_.empty()) queue_.pop_front();  // taken out already where the service closes
    wake_.notify_all();
  }
  courier_->schedule(mode_switch);
}

void ServiceCore::switch_failed(const std::shared_ptr<ModeSwitch>& mode_switch, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!queue_.empty()) queue_.pop_front();
    wake_.notify_all();
  }
  mode_switch->set_error(std::make_exception_ptr(error));
  courier_->schedule(mode_switch);
}

void ServiceCore::count_step(size_t jobs, double seconds) {
  const std::lock_guard lock(mutex_);
  ++counts_.steps;
  counts_.images_in_steps += jobs;
  counts_.denoise_s += seconds;
}

void ServiceCore::count_result(const GenerationTimings& timings, double encode_png_ms) {
  const std::lock_guard lock(mutex_);
  counts_.text_s += timings.text_ms / 1000;
  counts_.decode_s += timings.decode_ms / 1000;
  counts_.encode_png_s += encode_png_ms / 1000;
}

void ServiceCore::job_ended(ServiceJob& job) noexcept {
  {
    const std::lock_guard lock(mutex_);
    queue_.remove(job);
    running_.erase(&job);
    counts_.wait_s += job.wait_s();
    counts_.run_s += job.run_s();
    if (job.succeeded()) {
      ++counts_.succeeded;
    } else if (job.error_kind() == ErrorKind::cancelled) {
      ++counts_.cancelled;
    } else if (job.error_kind() == ErrorKind::timeout) {
      ++counts_.timed_out;
    } else {
      ++counts_.failed;
    }
    wake_.notify_all();
  }
  for (Seat& seat : seats_) seat.pass->look();
}

void ServiceCore::job_told() noexcept {
  const std::lock_guard lock(mutex_);
  --untold_;
  told_.notify_all();
}

}  // namespace dreamlab
