#pragma once

#include <span>

namespace dreamlab {

// Classifier-free guidance (Ho and Salimans 2022): out = uncond + scale * (cond - uncond). `out` may be either input.
void combine_guidance(std::span<const float> uncond, std::span<const float> cond, float scale, std::span<float> out);

// Moves the guided prediction of one image towards the standard deviation of the conditional one (Lin et al. 2023,
// section 3.4; diffusers' rescale_noise_cfg): guided = rescale * guided * std(cond) / std(guided) + (1 - rescale) *
// guided. `rescale` is in [0, 1]; std is over all elements of the span, one image at a time.
void rescale_guidance(std::span<const float> cond, float rescale, std::span<float> guided);

}  // namespace dreamlab
