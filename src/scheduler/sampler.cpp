#include "scheduler/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "scheduler/latent_math.h"

namespace dreamlab {
namespace {

void require_same_size(size_t a, size_t b) {
  if (a != b) fail(ErrorKind::internal, "sampler: latents of {} and {} elements", a, b);
}

void require_share(std::string_view what, double value, bool one_allowed) {
  const bool good = one_allowed ? value > 0.0 && value <= 1.0 : value >= 0.0 && value < 1.0;
  if (!good) {
    fail(ErrorKind::invalid_argument, "{}: {} asked for, allowed is {}", what, value,
         one_allowed ? "above 0 up to 1" : "0 to below 1");
  }
}

TimestepSpacing spacing_from_name(const std::string& name) {
  if (name == "leading") return TimestepSpacing::leading;
  if (name == "trailing") return TimestepSpacing::trailing;
  if (name == "linspace") return TimestepSpacing::linspace;
  fail(ErrorKind::unsupported, "timestep_spacing \"{}\" is unknown; there are leading, trailing and linspace", name);
}

// The timestep below which `share` of the noise is gone, as StableDiffusionXLPipeline counts it.
double cutoff_timestep(double share, int64_t train_timesteps) {
  const double total = static_cast<double>(train_timesteps);
  return std::nearbyint(total - share * total);
}

void check_options(const SamplerOptions& options) {
  require_share("strength", options.strength, true);
  if (options.denoising_start) require_share("denoising_start", *options.denoising_start, false);
  if (options.denoising_end) require_share("denoising_end", *options.denoising_end, true);
  if (options.eta && !(*options.eta >= 0.0 && *options.eta <= 1.0)) {
    fail(ErrorKind::invalid_argument, "eta: {} asked for, allowed is 0 to 1", *options.eta);
  }
}

}  // namespace

int Sampler::checked(int call) const {
  if (call < 0 || call >= calls()) fail(ErrorKind::internal, "sampler: call {} of {}", call, calls());
  return static_cast<int>(first_) + call;
}

void Sampler::scale_model_input(int call, std::span<const float> sample, std::span<float> out) const {
  require_same_size(sample.size(), out.size());
  add_terms({{input_scale(checked(call)), sample}}, out);
}

void Sampler::step(int call, std::span<const float> model_output, std::span<float> sample, NoiseSource& noise) {
  require_same_size(model_output.size(), sample.size());
  const int index = checked(call);
  if (call != next_) fail(ErrorKind::internal, "sampler: call {} where {} is due", call, next_);
  do_step(index, model_output, sample, noise);
  ++next_;
}

void Sampler::add_noise(std::span<const float> original, std::span<const float> noise, int call,
                        std::span<float> out) const {
  require_same_size(original.size(), out.size());
  require_same_size(noise.size(), out.size());
  const Mix mix = call == calls() ? Mix{1.0, 0.0} : noise_mix(checked(call));
  add_terms({{mix.original, original}, {mix.noise, noise}}, out);
}

int Sampler::steps_before(double cutoff, int total_steps) const {
  int steps = 0;
  while (steps < total_steps && static_cast<double>(timesteps_[static_cast<size_t>(call_of_step(steps))]) >= cutoff) {
    ++steps;
  }
  return steps;
}

void Sampler::run_steps(int first, int end, int total_steps) {
  first_ = static_cast<size_t>(call_of_step(first));
  calls_ = (end == total_steps ? timesteps_.size() : static_cast<size_t>(call_of_step(end))) - first_;
}

std::unique_ptr<Sampler> make_sampler(const SamplerEntry& entry, const SamplerSettings& settings,
                                      const NoiseScheduleConfig& schedule, const SamplerOptions& options) {
  check_options(options);
  SamplerSettings chosen = settings;
  if (schedule.timestep_spacing) chosen.timestep_spacing = spacing_from_name(*schedule.timestep_spacing);
  if (options.eta) chosen.eta = *options.eta;
  if (options.original_inference_steps) chosen.original_inference_steps = *options.original_inference_steps;

  const int steps = options.steps;
  std::unique_ptr<Sampler> sampler = entry.make(chosen, schedule, steps);
  const auto steps_before = [&](double share) {
    return sampler->steps_before(cutoff_timestep(share, schedule.num_train_timesteps), steps);
  };
  const int first = options.denoising_start ? steps_before(*options.denoising_start)
                                            : steps - static_cast<int>(steps * options.strength);
  const int end = options.denoising_end ? steps_before(*options.denoising_end) : steps;
  if (first >= end) {
    fail(ErrorKind::invalid_argument,
         "of {} steps none is left by strength, denoising_start and denoising_end; more steps or a larger share are "
         "needed",
         steps);
  }
  sampler->run_steps(first, end, steps);
  return sampler;
}

std::unique_ptr<Sampler> make_sampler(std::string_view name, const NoiseScheduleConfig& schedule,
                                      const SamplerOptions& options) {
  const SamplerEntry& entry = find_sampler(name);
  return make_sampler(entry, entry.defaults, schedule, options);
}

}  // namespace dreamlab
