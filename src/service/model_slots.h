#pragma once

// The models that one worker's thread keeps loaded: that of the current mode, and one guest for jobs that ask for
// another mode by name, so that a stream of such jobs does not load a model each time.
#include <functional>
#include <memory>

#include "service/batch_tuner.h"
#include "service/pipeline_service.h"
#include "service/work_estimate.h"

namespace dreamlab {

struct LoadedModel {
  LoadedModel(Mode mode_, std::shared_ptr<PipelineWorker> worker_, int batch_max, double tuning_s)
      : mode(std::move(mode_)),
        worker(std::move(worker_)),
        tuner(worker->shares_calls() ? batch_max : 1),
        tuning_left_s(tuning_s) {}

  const Mode mode;
  const std::shared_ptr<PipelineWorker> worker;
  BatchTuner tuner;
  WorkEstimate estimate;
  double tuning_left_s;  // for measuring in idle time
};

// A model is loaded beside those that are there, which are given up afterwards, so that a failure costs nothing. Where
// memory does not hold both (twice the size of its files: 16-bit files may be computed in 32 bits), those that are
// there make room first; the next job of the current mode then loads its model again.
class ModelSlots {
 public:
  using Make = std::function<std::shared_ptr<PipelineWorker>(const Mode& mode)>;
  // on_parked: the current mode's model has made room.
  ModelSlots(const ServiceOptions& options, Make make, std::function<void()> on_parked);

  // Null where it is not loaded.
  std::shared_ptr<LoadedModel> find(const Mode& mode) const;
  // Loads it as a guest where it is not there. Throws what the factory throws. No job may be running.
  std::shared_ptr<LoadedModel> get(const Mode& mode);
  // Makes a mode whose model is loaded the current one and lets go of all others.
  void keep_only(const Mode& mode);
  std::shared_ptr<LoadedModel> current() const { return current_; }

 private:
  void make_room(const Mode& mode);

  const ServiceOptions& options_;
  const Make make_;
  const std::function<void()> on_parked_;
  std::shared_ptr<LoadedModel> current_, guest_;
};

}  // namespace dreamlab
