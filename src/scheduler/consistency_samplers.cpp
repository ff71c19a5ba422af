// Samplers of distilled few-step networks, which visit some of the timesteps that their teacher's schedule has.
#include <cmath>

#include "base/error.h"
#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

std::vector<double> teacher_timesteps(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  const int train = static_cast<int>(config.num_train_timesteps);
  const int original = settings.original_inference_steps;
  if (original < 1 || original > train) {
    fail(ErrorKind::invalid_argument, "original_inference_steps: {} asked for, allowed are 1 to {}", original, train);
  }
  if (steps < 1 || steps > original) {
    fail(ErrorKind::invalid_argument, "steps: {} asked for, allowed are 1 to {} (original_inference_steps)", steps,
         original);
  }
  const int stride = train / original;
  std::vector<double> timesteps;
  for (int i = 0; i < steps; ++i) {
    const int place = static_cast<int>(std::floor(i * (static_cast<double>(original) / steps)));
    timesteps.push_back((original - place) * stride - 1);
  }
  return timesteps;
}

// Latent consistency models (Luo et al. 2023): estimate the image, add noise for the next timestep.
class LcmSampler : public AlphaSampler {
 public:
  LcmSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : AlphaSampler(config, teacher_timesteps(settings, config, steps)) {}

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    // Boundary condition of consistency models (Song et al. 2023, appendix C), with diffusers' timestep_scaling.
    constexpr double kSigmaData = 0.5;
    constexpr double kTimestepScaling = 10.0;
    const double scaled = timestep(index) * kTimestepScaling;
    const double variance = scaled * scaled + kSigmaData * kSigmaData;
    clean_.resize(sample.size());
    clean_image(timestep(index), output, sample, clean_);
    add_terms({{scaled / std::sqrt(variance), clean_}, {kSigmaData * kSigmaData / variance, sample}}, sample);
    if (index + 1 == total_calls()) return;
    const double next = alpha(timestep(index + 1));
    noise_.resize(sample.size());
    noise.normals(noise_);
    add_terms({{std::sqrt(next), sample}, {std::sqrt(1.0 - next), noise_}}, sample);
  }

  std::vector<float> clean_;
  std::vector<float> noise_;
};

// Trajectory consistency distillation (Zheng et al. 2024), strategic stochastic sampling: to a timestep s below the
// next, then back up with noise. `eta` is the paper's gamma.
class TcdSampler : public AlphaSampler {
 public:
  TcdSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : AlphaSampler(config, teacher_timesteps(settings, config, steps)), eta_(settings.eta) {}

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    const bool last = index + 1 == total_calls();
    const int next = last ? 0 : timestep(index + 1);
    const double at_next = alpha(next);
    const double at_s = alpha(static_cast<int>(std::floor(static_cast<float>(1.0 - eta_) * static_cast<float>(next))));
    clean_.resize(sample.size());
    clean_image(timestep(index), output, sample, clean_);
    const Estimate epsilon = noise_estimate(timestep(index));
    const double sigma = std::sqrt(1.0 - at_s);
    add_terms({{std::sqrt(at_s), clean_}, {sigma * epsilon.sample, sample}, {sigma * epsilon.output, output}}, sample);
    if (last || eta_ == 0.0) return;
    noise_.resize(sample.size());
    noise.normals(noise_);
    add_terms({{std::sqrt(at_next / at_s), sample}, {std::sqrt(1.0 - at_next / at_s), noise_}}, sample);
  }

  double eta_;
  std::vector<float> clean_;
  std::vector<float> noise_;
};

}  // namespace

std::unique_ptr<Sampler> make_lcm(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<LcmSampler>(settings, config, steps);
}

std::unique_ptr<Sampler> make_tcd(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<TcdSampler>(settings, config, steps);
}

}  // namespace dreamlab
