#pragma once

// What `generate` and `sheet` have in common: from settings to a pipeline, and to a request for it.
#include <memory>

#include "device/device.h"
#include "dreamlab/generate_options.h"
#include "dreamlab/progress_bar.h"
#include "pipeline/pipeline.h"

namespace dreamlab {

struct LoadedModel {
  std::unique_ptr<Device> device;
  std::unique_ptr<Pipeline> pipeline;  // on the device
};

// Says so where it is the model in the box. Interruption ends the loading, too. Throws Error as Checkpoint::open does.
LoadedModel load_model(const GenerateSettings& settings, ProgressBar& progress);

// The request of the first picture: in the model's native size unless another is set, pictures brought to that size,
// with its LoRAs.
GenerationRequest complete_request(const GenerateSettings& settings, const Pipeline& pipeline);

}  // namespace dreamlab
