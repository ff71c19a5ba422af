#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/random.h"
#include "weights/model_config.h"

namespace dreamlab {

struct SamplerEntry;
struct SamplerSettings;
struct SamplerOptions;

// One denoising run of one request: the timesteps, and the state that the method keeps between them. Latents are flat
// f32 spans in any layout (everything here is elementwise); only the order in which noise is drawn has a layout, which
// is the NoiseSource's business.
//
//   latents = noise * sampler.init_noise_sigma()
//   for (int call = 0; call < sampler.calls(); ++call) {
//     sampler.scale_model_input(call, latents, input);
//     output = model(input, sampler.timesteps()[call]);
//     sampler.step(call, output, latents, noise_source);
//   }
//
// Image-to-image starts from add_noise(image_latents, noise, 0, latents) instead.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // The timestep of every model call, first to last. Second-order methods (heun, kdpm2, pndm) have more calls than
  // steps.
  std::span<const float> timesteps() const { return std::span<const float>(timesteps_).subspan(first_, calls_); }
  int calls() const { return static_cast<int>(calls_); }

  // What unit noise is multiplied with to start a run without an image.
  double init_noise_sigma() const { return init_noise_sigma_; }

  // The noise level before every call of the whole schedule, whatever part of it runs, then the last one; empty for
  // methods that work on alphas_cumprod (lcm, ddim, ddpm, tcd, pndm).
  const std::vector<float>& sigmas() const { return sigmas_; }

  // out = what the network takes for `sample` at this call. `out` may be `sample`.
  void scale_model_input(int call, std::span<const float> sample, std::span<float> out) const;

  // Takes the network's output (after guidance) at `call` and moves `sample` on, in place. Calls come in order, each
  // once. Draws from `noise` where the method is stochastic, in one normals() call of the sample's size (none
  // otherwise).
  void step(int call, std::span<const float> model_output, std::span<float> sample, NoiseSource& noise);

  // out = `original` as noisy as the sample is before `call`; for call == calls() it is `original` itself. `out` may be
  // either input.
  void add_noise(std::span<const float> original, std::span<const float> noise, int call, std::span<float> out) const;

 protected:
  struct Mix {
    double original;
    double noise;
  };

  // `index` counts the calls of the whole schedule.
  virtual double input_scale(int /*index*/) const { return 1.0; }
  virtual Mix noise_mix(int index) const = 0;
  virtual void do_step(int index, std::span<const float> model_output, std::span<float> sample, NoiseSource& noise) = 0;
  // The call that starts a step of the whole schedule.
  virtual int call_of_step(int step) const { return step; }

  int total_calls() const { return static_cast<int>(timesteps_.size()); }

  std::vector<float> timesteps_;  // of the whole schedule
  std::vector<float> sigmas_;
  double init_noise_sigma_ = 1.0;

 private:
  friend std::unique_ptr<Sampler> make_sampler(const SamplerEntry&, const SamplerSettings&, const NoiseScheduleConfig&,
                                               const SamplerOptions&);
  // Only the steps from `first` up to but without `end` run.
  void run_steps(int first, int end, int total_steps);
  // Steps of `total_steps` that start at `cutoff` or above.
  int steps_before(double cutoff, int total_steps) const;
  int checked(int call) const;

  size_t first_ = 0;
  size_t calls_ = 0;
  int next_ = 0;
};

enum class TimestepSpacing { leading, trailing, linspace };
enum class FinalSigma { zero, sigma_min };
enum class SolverType { midpoint, heun, bh1, bh2 };
enum class DpmAlgorithm { dpmsolver_plus_plus, sde_dpmsolver_plus_plus };

// What distinguishes the samplers of one class; names as in diffusers' scheduler constructors. A sampler reads only
// those that its class has.
struct SamplerSettings {
  TimestepSpacing timestep_spacing = TimestepSpacing::linspace;  // where the model's schedule does not say
  bool use_karras_sigmas = false;
  FinalSigma final_sigmas_type = FinalSigma::zero;  // DPM-Solver, UniPC
  int solver_order = 2;                             // DPM-Solver, UniPC, DEIS: 1 to 3
  SolverType solver_type = SolverType::midpoint;    // DPM-Solver: midpoint, heun; UniPC: bh1, bh2
  DpmAlgorithm algorithm_type = DpmAlgorithm::dpmsolver_plus_plus;
  bool lower_order_final = true;  // fewer than 15 steps end in steps of lower order
  bool euler_at_final = false;
  int original_inference_steps = 50;  // LCM, TCD: steps of the teacher's schedule
  double eta = 0.0;                   // noise of DDIM (0 none, 1 as much as DDPM) and TCD (gamma)
};

// What a request may set.
struct SamplerOptions {
  int steps = 20;
  // Image-to-image: the share of the steps that run, the last ones, in (0, 1]. Without effect beside denoising_start.
  double strength = 1.0;
  // SDXL base and refiner: the share of the noise that is removed before this run starts, and when it ends; in [0, 1).
  std::optional<double> denoising_start;
  std::optional<double> denoising_end;          // in (0, 1]
  std::optional<int> original_inference_steps;  // LCM, TCD
  std::optional<double> eta;                    // DDIM, TCD
};

// A sampler for one run. Throws Error(invalid_argument) for an unknown name (listing the names) and for options out of
// range (saying the range).
std::unique_ptr<Sampler> make_sampler(std::string_view name, const NoiseScheduleConfig& schedule,
                                      const SamplerOptions& options);

// One line of the sampler table.
struct SamplerEntry {
  std::string_view name;             // "dpmpp_2m_karras"
  std::string_view title;            // "DPM++ 2M Karras", as AUTOMATIC1111's web UI calls it
  std::string_view diffusers_class;  // "DPMSolverMultistepScheduler"
  std::vector<std::string_view> aliases;
  SamplerSettings defaults;
  std::unique_ptr<Sampler> (*make)(const SamplerSettings&, const NoiseScheduleConfig&, int steps);
};

// All samplers, in the order to show them.
const std::vector<SamplerEntry>& samplers();
// Their names.
std::vector<std::string_view> sampler_names();
// By name, title or alias; case, spaces, '_', '-' and '+' spelled out as in "dpm++"/"dpmpp" do not matter. Throws
// Error(invalid_argument) that lists the names.
const SamplerEntry& find_sampler(std::string_view name);
// As make_sampler by name, with other settings than the entry's own.
std::unique_ptr<Sampler> make_sampler(const SamplerEntry& entry, const SamplerSettings& settings,
                                      const NoiseScheduleConfig& schedule, const SamplerOptions& options);

}  // namespace dreamlab
