#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dreamlab {

// Classifier-free guidance (Ho and Salimans 2022): out = uncond + scale * (cond - uncond). `out` may be either input.
void combine_guidance(std::span<const float> uncond, std::span<const float> cond, float scale, std::span<float> out);

// Moves the guided prediction of one image towards the standard deviation of the conditional one (Lin et al. 2023,
// section 3.4; diffusers' rescale_noise_cfg): guided = rescale * guided * std(cond) / std(guided) + (1 - rescale) *
// guided. `rescale` is in [0, 1]; std is over all elements of the span, one image at a time.
void rescale_guidance(std::span<const float> cond, float rescale, std::span<float> guided);

// Embedding of the guidance scale for LCM-distilled networks (diffusers' get_guidance_scale_embedding): `width`
// numbers, the sines of 1000 * (guidance_scale - 1) at width / 2 frequencies, then the cosines. An odd `width` ends in
// a zero.
std::vector<float> guidance_scale_embedding(double guidance_scale, int64_t width);

}  // namespace dreamlab
