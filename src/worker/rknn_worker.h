#pragma once

// The worker for LCM SD 1.5 on Rockchip NPUs: models that were compiled for pictures of fixed sizes. It denoises on one
// core of the NPU and decodes on another, where there is one that no worker denoises on; both on whichever is free
// where that is left to the runtime.
#include <memory>
#include <string>
#include <vector>

#include "device/rknn/rknn_model.h"
#include "scheduler/noise_schedule.h"
#include "weights/model_config.h"
#include "worker/pipeline_worker.h"
#include "worker/worker_options.h"

namespace dreamlab {

class RknnJob;

class RknnWorker final : public PipelineWorker {
 public:
  // Throws Error as make_worker() does.
  explicit RknnWorker(const WorkerOptions& options);

  const WorkerInfo& info() const override { return info_; }
  bool shares_calls() const override { return false; }  // models are compiled for one image
  bool finishes_aside() const override { return options_.rknn.workers < RknnOptions::kCores; }
  void check(const JobRequest& request) const override;
  std::unique_ptr<ActiveJob> start(const Job& job) override;
  void advance(std::span<ActiveJob* const> jobs, const CancelToken* cancel) override;
  JobResult finish(ActiveJob& job) override;
  Image preview(const ActiveJob& job) override;

 private:
  // Networks for pictures of one size.
  struct Networks {
    PictureSize size;
    std::unique_ptr<rknn::Model> unet, decoder;
    double scaling_factor = 1.0;  // what latents are divided by before they are decoded
    int64_t guidance_width = 0;   // of the embedded guidance scale; 0: the UNet takes none
  };

  std::vector<std::string> size_names() const;
  Networks checked(std::unique_ptr<rknn::Model> unet, std::unique_ptr<rknn::Model> decoder,
                   double scaling_factor) const;
  // Throws Error(invalid_argument), which names the sizes that there are.
  const Networks& networks_for(PictureSize size) const;
  std::vector<float> encode_text(const std::string& prompt);
  void step(RknnJob& job);

  WorkerOptions options_;
  std::shared_ptr<const rknn::Runtime> runtime_;
  NoiseScheduleConfig schedule_;
  std::unique_ptr<rknn::Model> text_encoder_;
  std::vector<Networks> sizes_;
  WorkerInfo info_;
};

}  // namespace dreamlab
