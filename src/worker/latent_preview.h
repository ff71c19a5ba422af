#pragma once

#include "base/image.h"
#include "pipeline/denoising_job.h"
#include "pipeline/latents.h"
#include "weights/model_config.h"

namespace dreamlab {

// About the colors that latents (scaled, as the UNet sees them) will have once they are decoded: one pixel a latent,
// through a linear map. Costs next to nothing.
Image latent_preview(const Latents& latents, Family family);
// Of where a job stands: its latents as the network takes them, where their noise is of one size for all samplers.
Image latent_preview(const DenoisingJob& job, Family family);

}  // namespace dreamlab
