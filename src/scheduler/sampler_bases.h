#pragma once

#include <span>
#include <vector>

#include "scheduler/latent_math.h"
#include "scheduler/noise_schedule.h"
#include "scheduler/sampler.h"
#include "scheduler/timesteps.h"

namespace dreamlab {

// Methods on alpha_cumprod: the sample is sqrt(alpha) x0 + sqrt(1 - alpha) epsilon and goes to the network as it is.
class AlphaSampler : public Sampler {
 protected:
  AlphaSampler(const NoiseScheduleConfig& config, const std::vector<double>& timesteps);

  Mix noise_mix(int index) const override;

  int timestep(int index) const { return static_cast<int>(timesteps_[static_cast<size_t>(index)]); }
  // alpha_cumprod; beyond the first timestep 1 or that of the first timestep, as set_alpha_to_one says.
  double alpha(int timestep) const { return schedule_.alpha_cumprod(timestep, alpha_of_image_); }
  // x0 in the sample, clipped where the model's schedule says so.
  void clean_image(int timestep, std::span<const float> output, std::span<const float> sample,
                   std::span<float> out) const;
  Estimate noise_estimate(int timestep) const;

  NoiseSchedule schedule_;
  PredictionType prediction_;

 private:
  double alpha_of_image_;
  bool clip_sample_;
  double clip_range_;
};

// Methods on sigma in variance-exploding form: the sample is x0 + sigma epsilon (Karras et al. 2022); the network takes
// it divided by sqrt(sigma^2 + 1).
class SigmaSampler : public Sampler {
 protected:
  explicit SigmaSampler(PredictionType prediction) : prediction_(prediction) {}

  // timesteps_, sigmas_ (with the last, 0) and init_noise_sigma_ of a schedule with one call per step.
  void set_schedule(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps);

  double sigma(int index) const { return static_cast<double>(sigmas_[static_cast<size_t>(index)]); }
  double input_scale(int index) const override;
  Mix noise_mix(int index) const override { return {1.0, sigma(index)}; }
  // d x / d sigma = (x - x0) / sigma, of a sample at noise level `sigma`.
  Estimate derivative(double sigma) const;

  PredictionType prediction_;
  std::vector<float> training_sigmas_;
};

// A step of noise level that goes down to `down` and comes back up to its end with fresh noise of level `up`.
struct AncestralStep {
  double down;
  double up;
};
AncestralStep ancestral_step(double from, double to);

// Methods in log signal-to-noise ratio (Lu et al. 2022): variance-preserving samples, alpha x0 + sigma epsilon, on
// noise levels sigma / alpha.
class LambdaSampler : public Sampler {
 protected:
  struct Level {
    double alpha;
    double sigma;
    double lambda;  // log(alpha / sigma); infinite without noise
  };

  // Runs of fewer steps end in steps of lower order, which are more stable (settings.lower_order_final).
  static constexpr int kFewSteps = 15;

  explicit LambdaSampler(PredictionType prediction) : prediction_(prediction) {}

  // timesteps_ and sigmas_. `spacing`: where a class does not let it be chosen.
  void set_schedule(const SamplerSettings& settings, TimestepSpacing spacing, const NoiseScheduleConfig& config,
                    int steps);

  Level level(int index) const;
  Mix noise_mix(int index) const override;

  PredictionType prediction_;
};

// The last few tensors of a run, the newest first.
class History {
 public:
  explicit History(size_t most) : most_(most) {}
  // A tensor of `size` elements to fill, in front of the others; the oldest goes when there are too many.
  std::span<float> push(size_t size);
  std::span<const float> operator[](size_t age) const { return kept_[age]; }
  size_t size() const { return kept_.size(); }

 private:
  size_t most_;
  std::vector<std::vector<float>> kept_;
};

}  // namespace dreamlab
