#include <cmath>

#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

// Karras et al. 2022, algorithm 2 without churn and correction.
class EulerSampler : public SigmaSampler {
 public:
  EulerSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : SigmaSampler(config.prediction_type) {
    set_schedule(settings, config, steps);
  }

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource&) override {
    const Estimate slope = derivative(sigma(index));
    const double way = sigma(index + 1) - sigma(index);
    add_terms({{1.0 + way * slope.sample, sample}, {way * slope.output, output}}, sample);
  }
};

// As Euler, but goes further down and comes back with fresh noise (k-diffusion's sample_euler_ancestral).
class EulerAncestralSampler : public SigmaSampler {
 public:
  EulerAncestralSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : SigmaSampler(config.prediction_type) {
    set_schedule(settings, config, steps);
  }

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    const AncestralStep to = ancestral_step(sigma(index), sigma(index + 1));
    const Estimate slope = derivative(sigma(index));
    const double way = to.down - sigma(index);
    noise_.resize(sample.size());
    noise.normals(noise_);  // the last step, too, draws: the stream has to move on as in diffusers
    add_terms({{1.0 + way * slope.sample, sample}, {way * slope.output, output}, {to.up, noise_}}, sample);
  }

  std::vector<float> noise_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<EulerSampler>(settings, config, steps);
}

std::unique_ptr<Sampler> make_euler_a(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<EulerAncestralSampler>(settings, config, steps);
}

}  // namespace dreamlab
