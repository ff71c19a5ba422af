#pragma once

// The interface that all families of worker share: the SD worker, the SDXL worker, the RKNN worker.
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/picture_size.h"
#include "device/device.h"
#include "worker/job.h"

namespace dreamlab {

struct StyleInfo {
  std::string id, title;
  std::vector<double> levels;  // strengths, level 1 first
};

struct WorkerInfo {
  std::string worker;  // "SD", "SDXL", "RKNN"
  std::string model;   // name of the checkpoint, without its folder and extension
  std::string family;  // "SD 1.x", ...
  std::string device;  // a description for people
  std::string dtype;   // "bf16", ...
  int64_t cross_attention_dim = 0;
  PictureSize default_size;
  int default_steps = 4;
  double default_guidance = 1.0;
  std::string default_scheduler;
  std::vector<StyleInfo> styles;  // those that fit the model
};

// A job between two denoising steps.
class ActiveJob {
 public:
  virtual ~ActiveJob() = default;
  virtual PictureSize size() const = 0;
  virtual int rows() const = 0;   // images in the batch of a network call: two under classifier-free guidance
  virtual int step() const = 0;   // network calls done
  virtual int steps() const = 0;  // network calls in all
  bool done() const { return step() >= steps(); }
};

// One model on one device. One thread works with it; info(), check() and what stands beside them may be called from any
// other at the same time.
class PipelineWorker {
 public:
  virtual ~PipelineWorker() = default;

  virtual const WorkerInfo& info() const = 0;
  // Of a device with memory of its own.
  virtual std::optional<DeviceMemory> memory() const { return std::nullopt; }
  // Whether jobs can share a network call. Where they cannot, a service has one on its way at a time.
  virtual bool shares_calls() const { return true; }
  // Whether finish() may run in a thread of its own, one job at a time, while start() and advance() work for others.
  virtual bool finishes_aside() const { return false; }
  // Throws Error(invalid_argument) for what is out of range or unknown (a bad size begins "Invalid size"; an unknown or
  // skipped style is named), before any model work.
  virtual void check(const JobRequest& request) const = 0;

  // A whole job: PNG bytes and the seed that was used; run_job_with_latents also the latent fingerprint of the same
  // pass. They return the result and deliver nothing. Throw Error; Error(cancelled) within a step of the job's token.
  JobResult run_job(const Job& job);
  JobResult run_job_with_latents(const Job& job);

  // --- the same in pieces, for a service that mixes jobs step by step; the job must outlive its active one ---
  virtual std::unique_ptr<ActiveJob> start(const Job& job) = 0;
  // One network call for each; those of one latent size share it. No job may be done. When it throws
  // Error(cancelled), since `cancel` was raised, every job is where it was before or one step on.
  virtual void advance(std::span<ActiveJob* const> jobs, const CancelToken* cancel) = 0;
  // Decodes a done job and fills in everything of its result.
  virtual JobResult finish(ActiveJob& job) = 0;
  // A small picture of where a job stands, made fast. Its sides are those of the latents or a multiple.
  virtual Image preview(const ActiveJob& job) = 0;

 private:
  JobResult run(const Job& job);
};

}  // namespace dreamlab
