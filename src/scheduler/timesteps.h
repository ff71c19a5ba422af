#pragma once

#include <vector>

#include "scheduler/noise_schedule.h"
#include "scheduler/sampler.h"

namespace dreamlab {

// Which of the training timesteps a run visits, descending. Lin et al. 2023, table 2, names the three spacings.
struct TimestepRule {
  TimestepSpacing spacing;
  int steps_offset;  // added by "leading"
  bool whole;        // rounds what "linspace" gives to whole timesteps
  // DPM-Solver and its relatives spread one step more and leave the last out; their run ends before timestep 0.
  bool leaves_out_last;
};

// Throws Error(invalid_argument) with the allowed range when the schedule has fewer timesteps than `steps` asks for.
std::vector<double> spaced_timesteps(const TimestepRule& rule, int steps, int train_timesteps);

// Timesteps and noise levels of a run, in f64 as NumPy has them.
struct SigmaSchedule {
  std::vector<double> timesteps;
  std::vector<double> sigmas;  // one per timestep
};

// Noise levels at `timesteps`, between the training timesteps interpolated linearly.
SigmaSchedule sigmas_at(std::vector<double> timesteps, const std::vector<float>& training_sigmas);

// `steps` noise levels from `largest` to `smallest` by the rule of Karras et al. 2022, equation 5 (rho 7), and the
// timesteps that have these levels.
SigmaSchedule karras_schedule(double largest, double smallest, int steps, const std::vector<float>& training_sigmas);

// The timestep that has noise level `sigma`, by linear interpolation of log sigma (diffusers' _sigma_to_t).
double timestep_of_sigma(double sigma, const std::vector<float>& training_sigmas);

}  // namespace dreamlab
