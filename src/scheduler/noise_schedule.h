#pragma once

#include <vector>

#include "weights/model_config.h"

namespace dreamlab {

// The noise of every training timestep, in f32 as PyTorch computes it.
class NoiseSchedule {
 public:
  // Throws Error(unsupported) for an unknown beta_schedule and Error(invalid_file) for numbers that describe no
  // schedule.
  explicit NoiseSchedule(const NoiseScheduleConfig& config);

  int train_timesteps() const { return static_cast<int>(alphas_cumprod_.size()); }

  // The share of the signal's variance that is left at each timestep (alpha bar of Ho et al. 2020). With
  // rescale_betas_zero_snr the last is 0.
  const std::vector<float>& alphas_cumprod() const { return alphas_cumprod_; }
  // At `timestep`, or `before_first` where it is negative.
  double alpha_cumprod(int timestep, double before_first) const {
    return timestep < 0 ? before_first : static_cast<double>(alphas_cumprod_[static_cast<size_t>(timestep)]);
  }

  // sqrt((1 - alpha_cumprod) / alpha_cumprod): noise relative to the signal. A last alpha_cumprod of 0 counts as 2^-24
  // here, as in diffusers.
  std::vector<float> sigmas() const;

 private:
  std::vector<float> alphas_cumprod_;
};

}  // namespace dreamlab
