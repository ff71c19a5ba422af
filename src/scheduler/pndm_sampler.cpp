#include <cmath>

#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

// The call at the second timestep comes twice, see PndmSampler.
std::vector<double> pndm_timesteps(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  const TimestepRule rule{settings.timestep_spacing, static_cast<int>(config.steps_offset), true, false};
  std::vector<double> timesteps = spaced_timesteps(rule, steps, static_cast<int>(config.num_train_timesteps));
  if (steps > 1) timesteps.insert(timesteps.begin() + 1, timesteps[1]);
  return timesteps;
}

// Pseudo linear multistep method (Liu et al. 2022, section 3.3): Adams-Bashforth on the noise estimates. Where the
// schedule starts at its first timestep, a second call repeats the first step with the mean of the outputs at both its
// ends; a run that starts later, on an image, begins with a plain step.
class PndmSampler : public AlphaSampler {
 public:
  PndmSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : AlphaSampler(config, pndm_timesteps(settings, config, steps)),
        stride_(static_cast<int>(config.num_train_timesteps) / steps) {}

 private:
  static constexpr int kRepeatedCall = 1;

  int call_of_step(int step) const override { return step == 0 ? 0 : step + 1; }

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource&) override {
    int from = timestep(index);
    int to = from - stride_;
    mean_.resize(sample.size());
    if (index == kRepeatedCall) {
      to = from;
      from += stride_;
      add_terms({{0.5, output}, {0.5, outputs_[0]}}, mean_);
      std::copy(first_sample_.begin(), first_sample_.end(), sample.begin());
    } else {
      const std::span<float> newest = outputs_.push(output.size());
      std::copy(output.begin(), output.end(), newest.begin());
      if (index == 0) first_sample_.assign(sample.begin(), sample.end());
      extrapolate();
    }
    transfer(alpha(from), alpha(to), sample);
  }

  void extrapolate() {
    const History& e = outputs_;
    switch (e.size()) {
      case 1:
        return add_terms({{1.0, e[0]}}, mean_);
      case 2:
        return add_terms({{3.0 / 2, e[0]}, {-1.0 / 2, e[1]}}, mean_);
      case 3:
        return add_terms({{23.0 / 12, e[0]}, {-16.0 / 12, e[1]}, {5.0 / 12, e[2]}}, mean_);
      default:
        return add_terms({{55.0 / 24, e[0]}, {-59.0 / 24, e[1]}, {37.0 / 24, e[2]}, {-9.0 / 24, e[3]}}, mean_);
    }
  }

  // Liu et al. 2022, equation 9, with the noise that mean_ estimates.
  void transfer(double before, double after, std::span<float> sample) {
    const Estimate epsilon = estimate_noise(prediction_, std::sqrt(before), std::sqrt(1.0 - before));
    const double denominator = before * std::sqrt(1.0 - after) + std::sqrt(before * (1.0 - before) * after);
    const double factor = -(after - before) / denominator;
    add_terms({{std::sqrt(after / before) + factor * epsilon.sample, sample}, {factor * epsilon.output, mean_}},
              sample);
  }

  int stride_;
  History outputs_{4};
  std::vector<float> first_sample_;
  std::vector<float> mean_;
};

}  // namespace

std::unique_ptr<Sampler> make_pndm(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<PndmSampler>(settings, config, steps);
}

}  // namespace dreamlab
