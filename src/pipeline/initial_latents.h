#pragma once

#include "pipeline/pipeline.h"

namespace dreamlab {

// Fills in what a run starts from: `inputs.start` and, for in-painting, the mask and what goes with it. Draws from
// inputs.noise in the order in which diffusers' pipelines draw from their one generator; inputs.sampler decides how
// noisy the start is.
void prepare_latents(Pipeline& pipeline, const GenerationRequest& request, DenoisingInputs& inputs,
                     const CancelToken* cancel);

}  // namespace dreamlab
