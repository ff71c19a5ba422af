#pragma once

#include <memory>

#include "scheduler/sampler.h"

namespace dreamlab {

// One per scheduler class of diffusers; what sampler_table.cpp refers to. Each builds the whole schedule of `steps`
// steps.
using SamplerFactory = std::unique_ptr<Sampler>(const SamplerSettings&, const NoiseScheduleConfig&, int steps);

SamplerFactory make_lcm;         // LCMScheduler
SamplerFactory make_tcd;         // TCDScheduler
SamplerFactory make_ddim;        // DDIMScheduler
SamplerFactory make_ddpm;        // DDPMScheduler
SamplerFactory make_pndm;        // PNDMScheduler, skip_prk_steps
SamplerFactory make_euler;       // EulerDiscreteScheduler
SamplerFactory make_euler_a;     // EulerAncestralDiscreteScheduler
SamplerFactory make_heun;        // HeunDiscreteScheduler
SamplerFactory make_kdpm2;       // KDPM2DiscreteScheduler
SamplerFactory make_kdpm2_a;     // KDPM2AncestralDiscreteScheduler
SamplerFactory make_lms;         // LMSDiscreteScheduler
SamplerFactory make_dpm_multi;   // DPMSolverMultistepScheduler
SamplerFactory make_dpm_single;  // DPMSolverSinglestepScheduler
SamplerFactory make_unipc;       // UniPCMultistepScheduler
SamplerFactory make_deis;        // DEISMultistepScheduler

}  // namespace dreamlab
