#include "service/worker_thread.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "base/elapsed.h"
#include "base/log.h"
#include "service/caught_error.h"
#include "service/idle_measurement.h"
#include "service/thread_name.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

// Jobs between two steps where BATCH_MAX does not say. They advance together whether or not they share calls: a job
// that comes makes its first step soon, and all of them in sum take no longer.
constexpr size_t kMaxActive = 8;

// What a row of a network call may take, for each of its pixels: twice what the activations of SDXL's UNet take in 32
// bits. A job shares a call only where twice that is available; alone it may try its luck.
constexpr uint64_t kBytesPerPixel = 512;

bool memory_allows(PictureSize size, int rows, uint64_t available) {
  return 2 * kBytesPerPixel * static_cast<uint64_t>(size.width * size.height * rows) <= available;
}

// What a job that has not been started is going to be, as far as its request tells.
WorkLeft whole_work(const ServiceJob& job, const LoadedModel& model) {
  const WorkerInfo& info = model.worker->info();
  const JobRequest& request = job.request();
  PictureSize size = info.default_size;
  try {
    size = request.own_size().value_or(size);
  } catch (const Error&) {
    // start() is going to refuse it.
  }
  const int rows = request.guidance_scale.value_or(info.default_guidance) > 1 ? 2 : 1;
  return {model.estimate.step_of(size, rows), model.estimate.end_of(size), request.steps.value_or(info.default_steps),
          job.deadline()};
}

}  // namespace

WorkerThread::WorkerThread(std::shared_ptr<ServiceCore> core, WorkerFactory factory, int index)
    : core_(std::move(core)),
      index_(index),
      pass_(core_->running_pass(index)),
      models_(
          core_->options(), [factory = std::move(factory), index](const Mode& mode) { return factory(mode, index); },
          [this] { core_->model_parked(index_); }) {
  thread_ = std::thread([this] { run(); });
}

WorkerThread::~WorkerThread() {
  thread_.join();
}

void WorkerThread::run() {
  name_this_thread(fmt::format("{} worker {}", core_->options().name, index_));
  while (true) {
    try {
      if (!turn()) return;
    } catch (...) {
      // Whatever belongs to a job has been caught before; what is left is memory short between two of them.
      log::error("a worker goes on after: {}", caught_error().what());
    }
  }
}

bool WorkerThread::turn() {
  drop_ended();
  if (!take_assignments()) return false;
  step();
  finish_done();
  return true;
}

bool WorkerThread::take_assignments() {
  const Admit admit = [this](const ServiceJob& job, const Mode& mode) { return admission(job, mode); };
  while (true) {
    const bool measuring = active_.empty() && can_measure();
    const Assignment assignment = core_->next(index_, active_.empty(), !measuring, admit);
    switch (assignment.kind) {
      case Assignment::Kind::stop:
        active_.clear();
        return false;
      case Assignment::Kind::nothing:
        if (measuring) measure();
        return true;
      case Assignment::Kind::load:
        load_current(assignment.mode);
        break;
      case Assignment::Kind::mode_switch:
        carry_out(assignment.mode_switch);
        break;
      case Assignment::Kind::job:
        start(assignment);
        break;
      case Assignment::Kind::refuse_job:
        assignment.job->fail(*assignment.error);
        break;
    }
  }
}

void WorkerThread::load_current(const Mode& mode) {
  wait_for_finishing();  // a model that goes must not stay for it
  try {
    const std::shared_ptr<LoadedModel> model = models_.get(mode);
    models_.keep_only(mode);
    core_->model_loaded(index_, mode, model->worker);
  } catch (...) {
    const Error error = caught_error();
    log::error("{}: {}", core_->options().name, error.what());
    core_->model_failed(index_, mode, error);
  }
}

void WorkerThread::carry_out(const std::shared_ptr<ModeSwitch>& mode_switch) {
  wait_for_finishing();
  const Mode& mode = mode_switch->mode();
  try {
    const std::shared_ptr<LoadedModel> model = models_.get(mode);
    models_.keep_only(mode);
    log::info("{}: mode '{}' from now on", core_->options().name, mode.name);
    core_->switched(index_, mode_switch, model->worker);
  } catch (...) {
    core_->switch_failed(mode_switch, caught_error());
  }
}

std::shared_ptr<LoadedModel> WorkerThread::load_for_job(const Mode& mode) {
  if (std::shared_ptr<LoadedModel> model = models_.find(mode)) return model;
  wait_for_finishing();
  try {
    const std::shared_ptr<LoadedModel> model = models_.get(mode);
    if (!models_.current() && core_->is_current(mode)) models_.keep_only(mode);
    core_->model_loaded(index_, mode, model->worker);
    return model;
  } catch (...) {
    core_->model_failed(index_, mode, caught_error());
    throw;
  }
}

void WorkerThread::start(const Assignment& assignment) {
  const std::shared_ptr<ServiceJob>& job = assignment.job;
  try {
    auto active = std::make_unique<Active>();
    active->job = job;
    active->model = load_for_job(assignment.mode);
    if (job->ended()) return;
    job->set_running();
    active->state = active->model->worker->start(job->job());
    job->set_steps(active->state->steps());
    active_.push_back(std::move(active));
  } catch (...) {
    job->fail(caught_error());
  }
}

Admission WorkerThread::admission(const ServiceJob& job, const Mode& mode) const {
  const std::shared_ptr<LoadedModel> model = models_.find(mode);
  if (!model) return Admission::needs_model;
  const size_t most = model->tuner.measures() ? kMaxActive : static_cast<size_t>(model->tuner.batch_max());
  return active_.size() < most && leaves_time_for_active(job, *model) ? Admission::yes : Admission::no_room;
}

bool WorkerThread::leaves_time_for_active(const ServiceJob& job, const LoadedModel& model) const {
  if (active_.empty()) return true;
  std::vector<WorkLeft> active;
  for (const std::unique_ptr<Active>& one : active_) {
    const WorkEstimate& estimate = one->model->estimate;
    const ActiveJob& state = *one->state;
    // Its first step is going to tell.
    if (!estimate.known()) return false;
    active.push_back({estimate.step_of(state.size(), state.rows()), estimate.end_of(state.size()),
                      state.steps() - state.step(), one->job->deadline()});
  }
  return leaves_time(active, whole_work(job, model), Clock::now());
}

void WorkerThread::drop_ended() {
  const auto ended = [](const std::unique_ptr<Active>& active) { return !active || active->job->ended(); };
  active_.erase(std::remove_if(active_.begin(), active_.end(), ended), active_.end());
}

void WorkerThread::step() {
  std::vector<Group> groups;
  for (const std::unique_ptr<Active>& active : active_) {
    if (active->job->ended() || active->state->done()) continue;
    const auto fits = [&](const Group& group) { return may_join(*active, group); };
    const auto group = std::find_if(groups.begin(), groups.end(), fits);
    if (group == groups.end()) {
      groups.push_back({active.get()});
    } else {
      group->push_back(active.get());
    }
  }
  for (const Group& group : groups) advance(group);
}

bool WorkerThread::may_join(const Active& active, const Group& group) const {
  const PictureSize size = active.state->size();
  if (group[0]->model != active.model || group[0]->state->size() != size) return false;
  int rows = 0;
  for (const Active* member : group) rows += member->state->rows();
  const int jobs = static_cast<int>(group.size());
  return active.model->tuner.has_room(size, jobs, rows, active.state->rows()) &&
         memory_allows(size, active.state->rows(), core_->options().available_bytes());
}

void WorkerThread::advance(const Group& group) {
  std::vector<ActiveJob*> states;
  std::vector<const ServiceJob*> jobs;
  std::vector<int> steps_before;
  int rows = 0;
  for (const Active* active : group) {
    states.push_back(active->state.get());
    jobs.push_back(active->job.get());
    steps_before.push_back(active->state->step());
    rows += active->state->rows();
  }
  LoadedModel& model = *group[0]->model;
  const auto begin = Clock::now();
  try {
    const RunningPass::Scope pass(pass_, std::move(jobs));
    model.worker->advance(states, &pass.token());
  } catch (...) {
    const Error error = caught_error();
    if (group.size() == 1) {
      group[0]->job->fail(error);
      return;
    }
    if (error.kind() == ErrorKind::out_of_memory) model.tuner.record_out_of_memory(group[0]->state->size(), rows);
    advance_one_by_one(group, steps_before);
    return;
  }
  const double seconds = seconds_since(begin);
  if (model.tuner.measures())
    model.tuner.record(group[0]->state->size(), static_cast<int>(group.size()), rows, seconds);
  model.estimate.record_step(group[0]->state->size(), rows, seconds);
  core_->count_step(group.size(), seconds);
  for (Active* active : group) announce_step(*active, seconds);
}

void WorkerThread::advance_one_by_one(const Group& group, const std::vector<int>& steps_before) {
  for (size_t i = 0; i < group.size(); ++i) {
    Active& active = *group[i];
    if (active.job->ended()) continue;
    const auto begin = Clock::now();
    try {
      if (active.state->step() == steps_before[i]) {
        const RunningPass::Scope pass(pass_, {active.job.get()});
        ActiveJob* const alone[] = {active.state.get()};
        active.model->worker->advance(alone, &pass.token());
      }
    } catch (...) {
      active.job->fail(caught_error());
      continue;
    }
    const double seconds = seconds_since(begin);
    active.model->estimate.record_step(active.state->size(), active.state->rows(), seconds);
    core_->count_step(1, seconds);
    announce_step(active, seconds);
  }
}

void WorkerThread::announce_step(Active& active, double seconds) {
  std::shared_ptr<const Image> preview;
  if (active.job->previews() && !active.job->ended()) {
    try {
      preview = std::make_shared<const Image>(active.model->worker->preview(*active.state));
    } catch (...) {
      log::warn("no preview: {}", caught_error().what());
    }
  }
  active.job->set_step(active.state->step(), active.state->steps(), 1000 * seconds, std::move(preview));
}

void WorkerThread::finish_done() {
  for (std::unique_ptr<Active>& active : active_) {
    if (active->job->ended() || !active->state->done()) continue;
    if (active->model->worker->finishes_aside()) {
      finish_aside(std::move(active));
    } else {
      finish(*active);
    }
  }
  drop_ended();
}

void WorkerThread::finish_aside(std::unique_ptr<Active> active) {
  wait_for_finishing();
  std::shared_ptr<Active> job = std::move(active);
  try {
    // Whoever sees that it is ready sees the job and its model let go of, too.
    const std::string name = fmt::format("{} finish {}", core_->options().name, index_);
    finishing_ = std::async(std::launch::async, [this, name, job]() mutable {
      name_this_thread(name);
      finish(*std::exchange(job, nullptr));
    });
  } catch (const std::exception&) {
    finish(*job);  // no memory, or the system has no more threads
  }
}

void WorkerThread::wait_for_finishing() {
  if (finishing_.valid()) finishing_.get();
}

void WorkerThread::finish(Active& active) {
  try {
    const auto begin = Clock::now();
    JobResult result = active.model->worker->finish(*active.state);
    active.model->estimate.record_end(active.state->size(), seconds_since(begin));
    if (!active.job->job().with_latents()) result.latents.reset();
    core_->count_result(result.timings, result.encode_png_ms);
    active.job->succeed(std::move(result));
  } catch (...) {
    active.job->fail(caught_error());
  }
}

bool WorkerThread::can_measure() const {
  const std::shared_ptr<LoadedModel> model = models_.current();
  return model && can_measure_more(*model);
}

void WorkerThread::measure() {
  wait_for_finishing();
  const RunningPass::Scope pass(pass_, {});
  // Work that arrived before the scope could not interrupt it.
  if (!core_->has_work()) measure_batch(*models_.current(), pass.token());
}

}  // namespace dreamlab
