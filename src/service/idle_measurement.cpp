#include "service/idle_measurement.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "base/elapsed.h"
#include "base/log.h"
#include "service/caught_error.h"

namespace dreamlab {

namespace {

// More together are left to real work.
constexpr int kMostRows = 8;
// Calls for each job, enough for a decision: one of few rows and one of many for each ratio, some that are left out.
constexpr int kCalls = 2 * BatchTuner::kRatios + 4;

using Clock = std::chrono::steady_clock;

JobRequest measured_request() {
  JobRequest request;
  request.steps = kCalls;
  request.seed = 0;
  request.guidance_scale = 1;
  return request;
}

// One call for every job, as many at a time as the tuner allows. Returns the seconds.
double advance_all(LoadedModel& model, std::span<ActiveJob* const> jobs, const CancelToken& cancel) {
  const PictureSize size = model.worker->info().default_size;
  double sum = 0;
  while (!jobs.empty()) {
    const auto rows = std::min(jobs.size(), static_cast<size_t>(model.tuner.limit(size)));
    const auto begin = Clock::now();
    model.worker->advance(jobs.first(rows), &cancel);
    const double seconds = seconds_since(begin);
    model.estimate.record_step(size, static_cast<int>(rows), seconds);
    model.tuner.record(size, static_cast<int>(rows), static_cast<int>(rows), seconds);
    jobs = jobs.subspan(rows);
    sum += seconds;
  }
  return sum;
}

void measure_rows(LoadedModel& model, int rows, const CancelToken& cancel) {
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<std::unique_ptr<ActiveJob>> states;
  std::vector<ActiveJob*> together;
  for (int i = 0; i < rows; ++i) {
    jobs.push_back(std::make_unique<Job>(measured_request(), Job::Deliver()));
    cancel.throw_if_cancelled();
    states.push_back(model.worker->start(*jobs.back()));
    together.push_back(states.back().get());
  }
  const PictureSize size = model.worker->info().default_size;
  double left_s = model.tuning_left_s;
  while (model.tuner.on_trial(size) == rows && !together[0]->done() && left_s > 0) {
    left_s -= advance_all(model, together, cancel);
  }
}

}  // namespace

bool can_measure_more(const LoadedModel& model) {
  const int rows = model.tuner.on_trial(model.worker->info().default_size);
  return model.tuner.measures() && model.tuning_left_s > 0 && rows > 0 && rows <= kMostRows;
}

void measure_batch(LoadedModel& model, const CancelToken& cancel) noexcept {
  const auto begin = Clock::now();
  const PictureSize size = model.worker->info().default_size;
  const int rows = model.tuner.on_trial(size);
  try {
    measure_rows(model, rows, cancel);
  } catch (...) {
    const Error error = caught_error();
    if (error.kind() == ErrorKind::out_of_memory && rows > 1) {
      model.tuner.record_out_of_memory(size, rows);
    } else if (error.kind() != ErrorKind::cancelled) {
      log::warn("how many jobs may share a call is learned from real ones: {}", error.what());
      model.tuning_left_s = 0;
    }
  }
  model.tuning_left_s -= seconds_since(begin);
}

}  // namespace dreamlab
