#pragma once

// The workers for Stable Diffusion on a Device: one implementation over a Pipeline, under two names.
#include <functional>
#include <memory>
#include <string_view>

#include "device/device.h"
#include "pipeline/pipeline.h"
#include "weights/checkpoint.h"
#include "worker/pipeline_worker.h"
#include "worker/style_shelf.h"
#include "worker/worker_options.h"

namespace dreamlab {

class DiffusionWorker : public PipelineWorker {
 public:
  const WorkerInfo& info() const override { return info_; }
  void check(const JobRequest& request) const override;
  std::unique_ptr<ActiveJob> start(const Job& job) override;
  void advance(std::span<ActiveJob* const> jobs, const CancelToken* cancel) override;
  JobResult finish(ActiveJob& job) override;
  Image preview(const ActiveJob& job) override;
  std::optional<DeviceMemory> memory() const override { return device_->memory(); }

 protected:
  // sdxl: what the model must be. The backend of the options is a device's name. Throws Error as make_worker() does.
  DiffusionWorker(std::string_view name, bool sdxl, const WorkerOptions& options,
                  std::shared_ptr<const Checkpoint> checkpoint);

 private:
  void with_memory(const std::function<void()>& work);

  WorkerOptions options_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<StyleShelf> styles_;
  WorkerInfo info_;
};

// SD 1.x and 2.x.
class SdWorker final : public DiffusionWorker {
 public:
  SdWorker(const WorkerOptions& options, std::shared_ptr<const Checkpoint> checkpoint)
      : DiffusionWorker("SD", false, options, std::move(checkpoint)) {}
};

// SDXL and its refiner.
class SdxlWorker final : public DiffusionWorker {
 public:
  SdxlWorker(const WorkerOptions& options, std::shared_ptr<const Checkpoint> checkpoint)
      : DiffusionWorker("SDXL", true, options, std::move(checkpoint)) {}
};

}  // namespace dreamlab
