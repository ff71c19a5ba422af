// Methods with two network calls in every step but the last.
#include <cmath>

#include "scheduler/latent_math.h"
#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

template <typename T>
std::vector<T> each_twice_but_the_first(const std::vector<T>& values) {
  std::vector<T> doubled = {values.front()};
  for (size_t i = 1; i < values.size(); ++i) doubled.insert(doubled.end(), 2, values[i]);
  return doubled;
}

// Calls 2k and 2k + 1 belong to step k.
class TwoCallSampler : public SigmaSampler {
 protected:
  using SigmaSampler::SigmaSampler;

  int call_of_step(int step) const override { return 2 * step; }
  static bool is_first_call(int index) { return index % 2 == 0; }

  std::vector<float> start_;  // the sample at the start of the step
};

// Karras et al. 2022, algorithm 1: the mean of the slopes at both ends of the step.
class HeunSampler : public TwoCallSampler {
 public:
  HeunSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : TwoCallSampler(config.prediction_type),
        clip_sample_(config.clip_sample),
        clip_range_(config.clip_sample_range) {
    set_schedule(settings, config, steps);
    timesteps_ = each_twice_but_the_first(timesteps_);
    sigmas_ = each_twice_but_the_first(sigmas_);
    sigmas_.pop_back();  // the last step has one call
  }

 private:
  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource&) override {
    noise_part_.resize(sample.size());
    apply(estimate_clean_exploding(prediction_, sigma(index)), sample, output, noise_part_);
    if (clip_sample_) clip(noise_part_, clip_range_);
    // The difference of two large numbers where sigma is small, so it comes before the division.
    add_terms({{1.0, sample}, {-1.0, noise_part_}}, noise_part_);
    if (is_first_call(index)) {
      start_.assign(sample.begin(), sample.end());
      slope_.resize(sample.size());
      add_terms({{1.0 / sigma(index), noise_part_}}, slope_);
      add_terms({{1.0, start_}, {sigma(index + 1) - sigma(index), slope_}}, sample);
      return;
    }
    const double half_way = 0.5 * (sigma(index) - sigma(index - 1));
    add_terms({{1.0, start_}, {half_way, slope_}, {half_way / sigma(index), noise_part_}}, sample);
  }

  bool clip_sample_;
  double clip_range_;
  std::vector<float> noise_part_;  // sample - image = sigma * epsilon
  std::vector<float> slope_;
};

// DPM-Solver-2 in sigma (Karras et al. 2022, appendix C; k-diffusion's sample_dpm_2): the slope at a level between the
// two ends, in log sigma half way.
class Kdpm2Sampler : public TwoCallSampler {
 public:
  Kdpm2Sampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps, bool ancestral)
      : TwoCallSampler(config.prediction_type), ancestral_(ancestral) {
    set_schedule(settings, config, steps);
    if (settings.use_karras_sigmas) {
      for (float& timestep : timesteps_) timestep = std::nearbyint(timestep);
    }
    insert_middle_calls();
  }

 private:
  void insert_middle_calls() {
    const std::vector<float> levels = sigmas_;
    const std::vector<float> timesteps = timesteps_;
    timesteps_.clear();
    for (size_t step = 0; step + 1 < levels.size(); ++step) {
      const double from = static_cast<double>(levels[step]);
      const double to = static_cast<double>(levels[step + 1]);
      const AncestralStep down = ancestral_ ? ancestral_step(from, to) : AncestralStep{to, 0.0};
      const bool last = step + 2 == levels.size();
      const double middle = last ? 0.0 : static_cast<double>(static_cast<float>(std::sqrt(from * down.down)));
      parts_.push_back({middle, down});
      timesteps_.push_back(timesteps[step]);
      if (!last) timesteps_.push_back(static_cast<float>(timestep_of_sigma(middle, training_sigmas_)));
    }
    sigmas_ = each_twice_but_the_first(levels);
    sigmas_.push_back(levels.back());
  }

  double input_scale(int index) const override {
    const double at = network_sigma(index);
    return 1.0 / std::sqrt(at * at + 1.0);
  }

  Mix noise_mix(int index) const override { return {1.0, network_sigma(index)}; }

  double network_sigma(int index) const {
    return is_first_call(index) ? sigma(index) : parts_[static_cast<size_t>(index / 2)].middle;
  }

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    const Part& part = parts_[static_cast<size_t>(index / 2)];
    const Estimate slope = derivative(network_sigma(index));
    if (is_first_call(index)) {
      const double way = part.middle - sigma(index);
      start_.assign(sample.begin(), sample.end());
      add_terms({{1.0, start_}, {way * slope.sample, sample}, {way * slope.output, output}}, sample);
      return;
    }
    const double way = part.end.down - sigma(index - 1);
    add_terms({{1.0, start_}, {way * slope.sample, sample}, {way * slope.output, output}}, sample);
    if (!ancestral_) return;
    start_.resize(sample.size());
    noise.normals(start_);
    add_terms({{1.0, sample}, {part.end.up, start_}}, sample);
  }

  struct Part {
    double middle;
    AncestralStep end;
  };

  bool ancestral_;
  std::vector<Part> parts_;  // one per step
};

}  // namespace

std::unique_ptr<Sampler> make_heun(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<HeunSampler>(settings, config, steps);
}

std::unique_ptr<Sampler> make_kdpm2(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<Kdpm2Sampler>(settings, config, steps, false);
}

std::unique_ptr<Sampler> make_kdpm2_a(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<Kdpm2Sampler>(settings, config, steps, true);
}

}  // namespace dreamlab
