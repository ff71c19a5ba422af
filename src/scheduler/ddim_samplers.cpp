#include <algorithm>
#include <cmath>

#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

std::vector<double> whole_timesteps(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  const TimestepRule rule{settings.timestep_spacing, static_cast<int>(config.steps_offset), true, false};
  return spaced_timesteps(rule, steps, static_cast<int>(config.num_train_timesteps));
}

// Samplers that go down by the same stride of timesteps in every step, whatever the spacing of the timesteps is.
class StrideSampler : public AlphaSampler {
 protected:
  StrideSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : AlphaSampler(config, whole_timesteps(settings, config, steps)),
        stride_(static_cast<int>(config.num_train_timesteps) / steps) {}

  // Draws noise and adds it `factor` times.
  void add_fresh_noise(double factor, std::span<float> sample, NoiseSource& noise) {
    noise_.resize(sample.size());
    noise.normals(noise_);
    add_terms({{1.0, sample}, {factor, noise_}}, sample);
  }

  int stride_;
  std::vector<float> clean_;

 private:
  std::vector<float> noise_;
};

// Song et al. 2021, equation 12.
class DdimSampler : public StrideSampler {
 public:
  DdimSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : StrideSampler(settings, config, steps), eta_(settings.eta) {}

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    const int from = timestep(index);
    const double before = alpha(from);
    const double after = alpha(from - stride_);
    const double variance = (1.0 - after) / (1.0 - before) * (1.0 - before / after);
    const double deviation = eta_ * std::sqrt(std::max(variance, 0.0));
    const double direction = std::sqrt(std::max(1.0 - after - deviation * deviation, 0.0));
    const Estimate epsilon = noise_estimate(from);
    clean_.resize(sample.size());
    clean_image(from, output, sample, clean_);
    add_terms({{std::sqrt(after), clean_}, {direction * epsilon.sample, sample}, {direction * epsilon.output, output}},
              sample);
    if (eta_ > 0.0) add_fresh_noise(deviation, sample, noise);
  }

  double eta_;
};

// Ho et al. 2020, equations 6 and 7, with the smaller of the two variances (diffusers' "fixed_small").
class DdpmSampler : public StrideSampler {
 public:
  DdpmSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : StrideSampler(settings, config, steps) {}

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    constexpr double kSmallestVariance = 1e-20;
    const int from = timestep(index);
    const int to = from - stride_;
    const double before = alpha(from);
    const double after = to < 0 ? 1.0 : alpha(to);
    const double beta = 1.0 - before / after;
    clean_.resize(sample.size());
    clean_image(from, output, sample, clean_);
    add_terms({{std::sqrt(after) * beta / (1.0 - before), clean_},
               {std::sqrt(before / after) * (1.0 - after) / (1.0 - before), sample}},
              sample);
    if (from == 0) return;
    const double variance = std::max((1.0 - after) / (1.0 - before) * beta, kSmallestVariance);
    add_fresh_noise(std::sqrt(variance), sample, noise);
  }
};

}  // namespace

std::unique_ptr<Sampler> make_ddim(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<DdimSampler>(settings, config, steps);
}

std::unique_ptr<Sampler> make_ddpm(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<DdpmSampler>(settings, config, steps);
}

}  // namespace dreamlab
