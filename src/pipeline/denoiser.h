#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/unet.h"
#include "pipeline/denoising_job.h"

namespace dreamlab {

// Runs the UNet for any number of requests together. A job may come and go between two calls of advance(); what it
// computes does not depend on the others.
class Denoiser {
 public:
  Denoiser(Device& device, const UNet& unet) : device_(device), unet_(unet) {}

  // Projects the text once for all steps. Throws Error(invalid_argument) where the inputs do not fit the network.
  std::unique_ptr<DenoisingJob> start(DenoisingInputs inputs, const CancelToken* cancel = nullptr);

  // One network call for every job: those of one latent size and text length share a pass. No job may be done.
  // Throws Error(cancelled) when the token is raised; jobs whose pass was cut off are then where they were before.
  void advance(std::span<DenoisingJob* const> jobs, const CancelToken* cancel = nullptr);

 private:
  // What stays the same from step to step for jobs that share a pass.
  struct Group {
    std::vector<uint64_t> serials;
    TextContext text;
    AddedConditions added;
  };

  void advance_group(std::span<DenoisingJob* const> jobs, const CancelToken* cancel);
  // For UNets that take the guidance scale as an input; nothing for others.
  void append_guidance(std::vector<float>& embeddings, double guidance_scale) const;
  const Group& joined(std::span<DenoisingJob* const> jobs);

  Device& device_;
  const UNet& unet_;
  Group group_;               // of the last pass, while none of its jobs is done
  std::vector<float> input_;  // of a pass
  uint64_t next_serial_ = 1;
};

}  // namespace dreamlab
