#include "verify/recorded_sampler.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/config_json.h"

namespace dreamlab {
namespace {

using nlohmann::json;

// What the constructor of a diffusers scheduler class takes where nothing is said.
struct ClassDefaults {
  std::string_view name;
  std::string_view sampler;  // ours
  double beta_start, beta_end;
  std::string_view beta_schedule;
  bool set_alpha_to_one, clip_sample;
};
constexpr std::array<ClassDefaults, 14> kClasses = {{
    {"LCMScheduler", "lcm", 0.00085, 0.012, "scaled_linear", true, false},
    {"TCDScheduler", "tcd", 0.00085, 0.012, "scaled_linear", true, false},
    {"EulerDiscreteScheduler", "euler", 0.0001, 0.02, "linear", false, false},
    {"EulerAncestralDiscreteScheduler", "euler_a", 0.0001, 0.02, "linear", false, false},
    {"DPMSolverMultistepScheduler", "dpmpp_2m", 0.0001, 0.02, "linear", false, false},
    {"DPMSolverSinglestepScheduler", "dpmpp_2s", 0.0001, 0.02, "linear", false, false},
    {"UniPCMultistepScheduler", "unipc", 0.0001, 0.02, "linear", false, false},
    {"DEISMultistepScheduler", "deis", 0.0001, 0.02, "linear", false, false},
    {"DDIMScheduler", "ddim", 0.0001, 0.02, "linear", true, true},
    {"DDPMScheduler", "ddpm", 0.0001, 0.02, "linear", false, true},
    {"PNDMScheduler", "pndm", 0.0001, 0.02, "linear", false, false},
    {"HeunDiscreteScheduler", "heun", 0.00085, 0.012, "linear", false, false},
    {"KDPM2DiscreteScheduler", "dpm2", 0.00085, 0.012, "linear", false, false},
    {"KDPM2AncestralDiscreteScheduler", "dpm2_a", 0.00085, 0.012, "linear", false, false},
}};
constexpr ClassDefaults kLms = {"LMSDiscreteScheduler", "lms", 0.0001, 0.02, "linear", false, false};

const ClassDefaults& defaults_of(const std::string& name) {
  if (name == kLms.name) return kLms;
  for (const ClassDefaults& defaults : kClasses) {
    if (defaults.name == name) return defaults;
  }
  fail(ErrorKind::unsupported, "scheduler class \"{}\" is not known", name);
}

// Arguments that the noise schedule reads.
constexpr std::array<std::string_view, 12> kScheduleArguments = {
    "num_train_timesteps", "beta_start",      "beta_end",          "beta_schedule",
    "trained_betas",       "prediction_type", "steps_offset",      "timestep_spacing",
    "set_alpha_to_one",    "clip_sample",     "clip_sample_range", "rescale_betas_zero_snr"};

// Arguments that our samplers have one value of, or that do nothing beside it.
const json& fixed_arguments() {
  static const json kFixed = json::parse(R"({
    "thresholding": [false], "dynamic_thresholding_ratio": null, "sample_max_value": null, "timestep_scaling": [10.0],
    "interpolation_type": ["linear"], "use_exponential_sigmas": [false], "use_beta_sigmas": [false], "use_lu_lambdas": [false],
    "sigma_min": [null], "sigma_max": [null], "timestep_type": ["discrete"], "lambda_min_clipped": [null],
    "variance_type": [null, "fixed_small"], "skip_prk_steps": [true], "predict_x0": [true], "disable_corrector": [[]],
    "solver_p": [null]})");
  return kFixed;
}

template <typename Value>
using Names = std::vector<std::pair<std::string_view, Value>>;

template <typename Value>
Value from_name(const std::string& argument, const json& value, const Names<Value>& names) {
  for (const auto& [name, known] : names) {
    if (value == name) return known;
  }
  fail(ErrorKind::unsupported, "scheduler argument {} = {} is not known", argument, value.dump());
}

// Takes one argument over into the settings; false where it is none of theirs.
bool apply(const std::string& argument, const json& value, SamplerSettings& settings) {
  if (argument == "use_karras_sigmas") {
    settings.use_karras_sigmas = value.get<bool>();
  } else if (argument == "final_sigmas_type") {
    settings.final_sigmas_type =
        from_name<FinalSigma>(argument, value, {{"zero", FinalSigma::zero}, {"sigma_min", FinalSigma::sigma_min}});
  } else if (argument == "solver_order") {
    settings.solver_order = value.get<int>();
  } else if (argument == "solver_type") {
    // "logrho" is DEIS's only one.
    settings.solver_type = from_name<SolverType>(argument, value,
                                                 {{"midpoint", SolverType::midpoint},
                                                  {"heun", SolverType::heun},
                                                  {"bh1", SolverType::bh1},
                                                  {"bh2", SolverType::bh2},
                                                  {"logrho", settings.solver_type}});
  } else if (argument == "algorithm_type") {
    // "deis" is DEIS's only one.
    settings.algorithm_type = from_name<DpmAlgorithm>(argument, value,
                                                      {{"dpmsolver++", DpmAlgorithm::dpmsolver_plus_plus},
                                                       {"sde-dpmsolver++", DpmAlgorithm::sde_dpmsolver_plus_plus},
                                                       {"deis", settings.algorithm_type}});
  } else if (argument == "lower_order_final") {
    settings.lower_order_final = value.get<bool>();
  } else if (argument == "euler_at_final") {
    settings.euler_at_final = value.get<bool>();
  } else if (argument == "original_inference_steps") {
    settings.original_inference_steps = value.get<int>();
  } else {
    return false;
  }
  return true;
}

bool is_fixed(const std::string& argument, const json& value) {
  const json& fixed = fixed_arguments();
  if (!fixed.contains(argument)) return false;
  const json& allowed = fixed.at(argument);
  return allowed.is_null() || std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

}  // namespace

std::unique_ptr<Sampler> sampler_of_record(const std::string& diffusers_class, const json& config,
                                           const SamplerOptions& options) {
  const ClassDefaults& defaults = defaults_of(diffusers_class);
  const SamplerEntry& entry = find_sampler(defaults.sampler);
  SamplerSettings settings = entry.defaults;
  for (const auto& [argument, value] : config.items()) {
    const bool of_schedule =
        std::find(kScheduleArguments.begin(), kScheduleArguments.end(), argument) != kScheduleArguments.end();
    if (of_schedule || apply(argument, value, settings) || is_fixed(argument, value)) continue;
    fail(ErrorKind::unsupported, "scheduler argument {} = {} is not known", argument, value.dump());
  }

  NoiseScheduleConfig base;
  base.beta_start = defaults.beta_start;
  base.beta_end = defaults.beta_end;
  base.beta_schedule = defaults.beta_schedule;
  base.set_alpha_to_one = defaults.set_alpha_to_one;
  base.clip_sample = defaults.clip_sample;
  base.steps_offset = 0;
  return make_sampler(entry, settings, parse_schedule_config(config, base), options);
}

void RecordedNoise::normals(std::span<float> out) {
  if (out.size() != size_) {
    fail(ErrorKind::invalid_file, "the sampler draws {} numbers, the record has draws of {}", out.size(), size_);
  }
  if (next_ + size_ > values_.size()) {
    fail(ErrorKind::invalid_file, "the sampler draws noise more than the recorded {} times", values_.size() / size_);
  }
  std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(next_), size_, out.begin());
  next_ += size_;
}

}  // namespace dreamlab
