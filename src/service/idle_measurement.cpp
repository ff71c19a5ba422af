#include "service/idle_measurement.h"

#include <chrono>
#include <vector>

#include "base/elapsed.h"
#include "base/log.h"
#include "service/caught_error.h"

namespace dreamlab {

namespace {

// Calls for one count: the first is not counted.
constexpr int kCalls = BatchTuner::kEnough + 1;
// More together are left to real work.
constexpr int kMostRows = 8;

using Clock = std::chrono::steady_clock;

JobRequest measured_request() {
  JobRequest request;
  request.steps = kCalls;
  request.seed = 0;
  request.guidance_scale = 1;
  return request;
}

void measure_rows(LoadedModel& model, int rows, const CancelToken& cancel) {
  PipelineWorker& worker = *model.worker;
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<std::unique_ptr<ActiveJob>> states;
  std::vector<ActiveJob*> together;
  for (int i = 0; i < rows; ++i) {
    jobs.push_back(std::make_unique<Job>(measured_request(), Job::Deliver()));
    cancel.throw_if_cancelled();
    states.push_back(worker.start(*jobs.back()));
    together.push_back(states.back().get());
  }
  const PictureSize size = worker.info().default_size;
  for (int call = 0; call < kCalls && !together[0]->done(); ++call) {
    const auto begin = Clock::now();
    worker.advance(together, &cancel);
    model.tuner.record(size, rows, seconds_since(begin));
  }
}

}  // namespace

bool can_measure_more(const LoadedModel& model) {
  return model.tuner.measures() && model.tuning_left_s > 0 && model.tuning_rows <= kMostRows &&
         model.tuning_rows <= model.tuner.limit(model.worker->info().default_size);
}

void measure_batch(LoadedModel& model, const CancelToken& cancel) noexcept {
  const auto begin = Clock::now();
  const int rows = model.tuning_rows;
  bool measured = false;
  try {
    measure_rows(model, rows, cancel);
    measured = true;
  } catch (...) {
    const Error error = caught_error();
    if (error.kind() == ErrorKind::out_of_memory && rows > 1) {
      model.tuner.record_out_of_memory(model.worker->info().default_size, rows);
    } else if (error.kind() != ErrorKind::cancelled) {
      log::warn("how many jobs may share a call is learned from real ones: {}", error.what());
      model.tuning_left_s = 0;
    }
  }
  const double seconds = seconds_since(begin);
  model.tuning_left_s -= seconds;
  if (!measured) return;
  model.tuning_rows = 2 * rows;
  // The next one takes twice as long.
  if (model.tuning_left_s < 2 * seconds) model.tuning_left_s = 0;
}

}  // namespace dreamlab
