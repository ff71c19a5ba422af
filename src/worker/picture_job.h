#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "pipeline/denoising_job.h"
#include "pipeline/request.h"
#include "worker/pipeline_worker.h"

namespace dreamlab {

// A job that a DenoisingJob carries out, whatever computes.
class PictureJob : public ActiveJob {
 public:
  // The job must outlive this.
  PictureJob(const Job& job, GenerationRequest request) : job(job), request(std::move(request)) {}

  PictureSize size() const override { return request.size; }
  int rows() const override { return static_cast<int>(denoising->rows()); }
  int step() const override { return denoising->call(); }
  int steps() const override { return denoising->calls(); }

  const Job& job;
  GenerationRequest request;
  std::unique_ptr<DenoisingJob> denoising;
  GenerationTimings timings;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

}  // namespace dreamlab
