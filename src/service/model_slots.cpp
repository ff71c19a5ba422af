#include "service/model_slots.h"

#include <chrono>

#include "base/log.h"
#include "service/resident_memory.h"

namespace dreamlab {

ModelSlots::ModelSlots(const ServiceOptions& options, Make make, std::function<void()> on_parked)
    : options_(options), make_(std::move(make)), on_parked_(std::move(on_parked)) {}

std::shared_ptr<LoadedModel> ModelSlots::find(const Mode& mode) const {
  if (current_ && current_->mode == mode) return current_;
  if (guest_ && guest_->mode == mode) return guest_;
  return nullptr;
}

std::shared_ptr<LoadedModel> ModelSlots::get(const Mode& mode) {
  if (std::shared_ptr<LoadedModel> found = find(mode)) return found;
  make_room(mode);
  const auto begin = std::chrono::steady_clock::now();
  std::shared_ptr<PipelineWorker> worker = make_(mode);
  if (!worker) fail(ErrorKind::internal, "no worker was made for {}", mode.model.string());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log::info("loaded {} in {:.1f} s", worker->info().model, seconds);
  guest_ = std::make_shared<LoadedModel>(mode, std::move(worker), options_.batch_max, options_.tuning_s);
  return guest_;
}

void ModelSlots::keep_only(const Mode& mode) {
  current_ = find(mode);
  guest_ = nullptr;
}

void ModelSlots::make_room(const Mode& mode) {
  guest_ = nullptr;
  if (!current_ || 2 * bytes_on_disk(mode.model) <= options_.available_bytes()) return;
  log::info("{} makes room for {}", current_->mode.model.string(), mode.model.string());
  on_parked_();
  current_ = nullptr;
}

}  // namespace dreamlab
