#include <fmt/ranges.h>

#include <cctype>

#include "base/error.h"
#include "scheduler/sampler.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

constexpr SamplerSettings kLcm{.timestep_spacing = TimestepSpacing::leading};
constexpr SamplerSettings kTcd{.timestep_spacing = TimestepSpacing::leading, .eta = 0.3};
constexpr SamplerSettings kDdim{.timestep_spacing = TimestepSpacing::leading};
constexpr SamplerSettings kPndm{.timestep_spacing = TimestepSpacing::leading};
constexpr SamplerSettings kSigma{};
constexpr SamplerSettings kSigmaKarras{.use_karras_sigmas = true};
constexpr SamplerSettings kDpm{};
constexpr SamplerSettings kDpmKarras{.use_karras_sigmas = true};
constexpr SamplerSettings kDpmSde{.algorithm_type = DpmAlgorithm::sde_dpmsolver_plus_plus};
constexpr SamplerSettings kDpmSdeKarras{.use_karras_sigmas = true,
                                        .algorithm_type = DpmAlgorithm::sde_dpmsolver_plus_plus};
constexpr SamplerSettings kDpmThird{.solver_order = 3};
constexpr SamplerSettings kDpmSinglestep{.lower_order_final = false};
constexpr SamplerSettings kUniPc{.solver_type = SolverType::bh2};
constexpr SamplerSettings kUniPcKarras{.use_karras_sigmas = true, .solver_type = SolverType::bh2};
constexpr SamplerSettings kDeis{.final_sigmas_type = FinalSigma::sigma_min};

// Lower case, without spaces and punctuation; '+' is 'p', as in "dpmpp".
std::string plain(std::string_view name) {
  std::string letters;
  for (const char character : name) {
    if (character == '+') letters += 'p';
    if (std::isalnum(static_cast<unsigned char>(character)) != 0) {
      letters += static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    }
  }
  return letters;
}

bool goes_by(const SamplerEntry& entry, const std::string& wanted) {
  if (plain(entry.name) == wanted || plain(entry.title) == wanted) return true;
  for (const std::string_view alias : entry.aliases) {
    if (plain(alias) == wanted) return true;
  }
  return false;
}

}  // namespace

const std::vector<SamplerEntry>& samplers() {
  // clang-format off
  static const std::vector<SamplerEntry> kSamplers = {
      {"lcm", "LCM", "LCMScheduler", {}, kLcm, make_lcm},
      {"tcd", "TCD", "TCDScheduler", {}, kTcd, make_tcd},
      {"euler", "Euler", "EulerDiscreteScheduler", {}, kSigma, make_euler},
      {"euler_karras", "Euler Karras", "EulerDiscreteScheduler", {}, kSigmaKarras, make_euler},
      {"euler_a", "Euler a", "EulerAncestralDiscreteScheduler", {"euler_ancestral"}, kSigma, make_euler_a},
      {"dpmpp_2m", "DPM++ 2M", "DPMSolverMultistepScheduler", {}, kDpm, make_dpm_multi},
      {"dpmpp_2m_karras", "DPM++ 2M Karras", "DPMSolverMultistepScheduler", {}, kDpmKarras, make_dpm_multi},
      {"dpmpp_2m_sde", "DPM++ 2M SDE", "DPMSolverMultistepScheduler", {}, kDpmSde, make_dpm_multi},
      {"dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras", "DPMSolverMultistepScheduler", {}, kDpmSdeKarras, make_dpm_multi},
      {"dpmpp_3m", "DPM++ 3M", "DPMSolverMultistepScheduler", {}, kDpmThird, make_dpm_multi},
      {"dpmpp_2s", "DPM++ 2S", "DPMSolverSinglestepScheduler", {}, kDpmSinglestep, make_dpm_single},
      {"unipc", "UniPC", "UniPCMultistepScheduler", {}, kUniPc, make_unipc},
      {"unipc_karras", "UniPC Karras", "UniPCMultistepScheduler", {}, kUniPcKarras, make_unipc},
      {"ddim", "DDIM", "DDIMScheduler", {}, kDdim, make_ddim},
      {"ddpm", "DDPM", "DDPMScheduler", {}, kDdim, make_ddpm},
      {"pndm", "PNDM", "PNDMScheduler", {"PLMS"}, kPndm, make_pndm},
      {"heun", "Heun", "HeunDiscreteScheduler", {}, kSigma, make_heun},
      {"heun_karras", "Heun Karras", "HeunDiscreteScheduler", {}, kSigmaKarras, make_heun},
      {"dpm2", "DPM2", "KDPM2DiscreteScheduler", {"kdpm2"}, kSigma, make_kdpm2},
      {"dpm2_a", "DPM2 a", "KDPM2AncestralDiscreteScheduler", {"kdpm2_a"}, kSigma, make_kdpm2_a},
      {"lms", "LMS", "LMSDiscreteScheduler", {}, kSigma, make_lms},
      {"lms_karras", "LMS Karras", "LMSDiscreteScheduler", {}, kSigmaKarras, make_lms},
      {"deis", "DEIS", "DEISMultistepScheduler", {}, kDeis, make_deis},
  };
  // clang-format on
  return kSamplers;
}

std::vector<std::string_view> sampler_names() {
  std::vector<std::string_view> names;
  for (const SamplerEntry& entry : samplers()) names.push_back(entry.name);
  return names;
}

const SamplerEntry& find_sampler(std::string_view name) {
  const std::string wanted = plain(name);
  for (const SamplerEntry& entry : samplers()) {
    if (goes_by(entry, wanted)) return entry;
  }
  fail(ErrorKind::invalid_argument, "there is no sampler \"{}\"; there are {}", name, fmt::join(sampler_names(), ", "));
}

}  // namespace dreamlab
