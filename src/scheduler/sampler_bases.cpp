#include "scheduler/sampler_bases.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

std::vector<float> to_f32(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

AlphaSampler::AlphaSampler(const NoiseScheduleConfig& config, const std::vector<double>& timesteps)
    : schedule_(config),
      prediction_(config.prediction_type),
      alpha_of_image_(config.set_alpha_to_one ? 1.0 : schedule_.alpha_cumprod(0, 1.0)),
      clip_sample_(config.clip_sample),
      clip_range_(config.clip_sample_range) {
  timesteps_ = to_f32(timesteps);
  if (prediction_ == PredictionType::epsilon && !timesteps.empty() && alpha(timestep(0)) == 0.0) {
    fail(ErrorKind::unsupported,
         "a schedule with zero terminal SNR has no image to estimate from epsilon; its network must predict v");
  }
}

Sampler::Mix AlphaSampler::noise_mix(int index) const {
  const double signal = alpha(timestep(index));
  return {std::sqrt(signal), std::sqrt(1.0 - signal)};
}

void AlphaSampler::clean_image(int timestep, std::span<const float> output, std::span<const float> sample,
                               std::span<float> out) const {
  const double signal = alpha(timestep);
  apply(estimate_clean(prediction_, std::sqrt(signal), std::sqrt(1.0 - signal)), sample, output, out);
  if (clip_sample_) clip(out, clip_range_);
}

Estimate AlphaSampler::noise_estimate(int timestep) const {
  const double signal = alpha(timestep);
  return estimate_noise(prediction_, std::sqrt(signal), std::sqrt(1.0 - signal));
}

void SigmaSampler::set_schedule(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  const NoiseSchedule schedule(config);
  training_sigmas_ = schedule.sigmas();
  const TimestepRule rule{settings.timestep_spacing, static_cast<int>(config.steps_offset), false, false};
  std::vector<double> timesteps = spaced_timesteps(rule, steps, schedule.train_timesteps());
  // NumPy spaces them in f32 here.
  for (double& timestep : timesteps) timestep = static_cast<double>(static_cast<float>(timestep));
  SigmaSchedule run = sigmas_at(std::move(timesteps), training_sigmas_);
  if (settings.use_karras_sigmas) {
    run = karras_schedule(run.sigmas.front(), run.sigmas.back(), steps, training_sigmas_);
  }
  timesteps_ = to_f32(run.timesteps);
  sigmas_ = to_f32(run.sigmas);
  sigmas_.push_back(0.0f);
  const double largest = sigma(0);
  const bool leading = settings.timestep_spacing == TimestepSpacing::leading;
  init_noise_sigma_ = leading ? std::sqrt(largest * largest + 1.0) : largest;
}

double SigmaSampler::input_scale(int index) const {
  return 1.0 / std::sqrt(sigma(index) * sigma(index) + 1.0);
}

Estimate SigmaSampler::derivative(double sigma) const {
  const Estimate clean = estimate_clean_exploding(prediction_, sigma);
  return {(1.0 - clean.sample) / sigma, -clean.output / sigma};
}

AncestralStep ancestral_step(double from, double to) {
  const double up = std::sqrt(to * to * (from * from - to * to) / (from * from));
  return {std::sqrt(std::max(to * to - up * up, 0.0)), up};
}

void LambdaSampler::set_schedule(const SamplerSettings& settings, TimestepSpacing spacing,
                                 const NoiseScheduleConfig& config, int steps) {
  if (settings.solver_order < 1 || settings.solver_order > 3) {
    fail(ErrorKind::invalid_argument, "solver_order: {} asked for, allowed are 1 to 3", settings.solver_order);
  }
  const NoiseSchedule schedule(config);
  const std::vector<float> training_sigmas = schedule.sigmas();
  const TimestepRule rule{spacing, static_cast<int>(config.steps_offset), true, true};
  SigmaSchedule run = sigmas_at(spaced_timesteps(rule, steps, schedule.train_timesteps()), training_sigmas);
  if (settings.use_karras_sigmas) {
    run = karras_schedule(static_cast<double>(training_sigmas.back()), static_cast<double>(training_sigmas.front()),
                          steps, training_sigmas);
    for (double& timestep : run.timesteps) timestep = std::nearbyint(timestep);
  }
  timesteps_ = to_f32(run.timesteps);
  sigmas_ = to_f32(run.sigmas);
  sigmas_.push_back(settings.final_sigmas_type == FinalSigma::zero ? 0.0f : training_sigmas.front());
}

LambdaSampler::Level LambdaSampler::level(int index) const {
  const double ratio = static_cast<double>(sigmas_[static_cast<size_t>(index)]);
  const double alpha = 1.0 / std::sqrt(ratio * ratio + 1.0);
  return {alpha, ratio * alpha, -std::log(ratio)};
}

Sampler::Mix LambdaSampler::noise_mix(int index) const {
  const Level at = level(index);
  return {at.alpha, at.sigma};
}

std::span<float> History::push(size_t size) {
  if (kept_.size() < most_) kept_.emplace_back();
  std::rotate(kept_.begin(), kept_.end() - 1, kept_.end());
  kept_.front().resize(size);
  return kept_.front();
}

}  // namespace dreamlab
