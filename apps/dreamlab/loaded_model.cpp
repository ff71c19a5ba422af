#include "dreamlab/loaded_model.h"

#include <fmt/format.h>

#include <cstdio>

#include "device/make_device.h"
#include "dreamlab/interruption.h"
#include "weights/checkpoint.h"
#include "worker/model_location.h"

namespace dreamlab {

LoadedModel load_model(const GenerateSettings& settings, ProgressBar& progress) {
  if (settings.shipped_model && !settings.quiet) fmt::print(stderr, "{}\n", kShippedModelNotice);
  progress.note("loading " + settings.model_path);
  LoadedModel model{make_device(settings.device), nullptr};
  std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(settings.model_path);
  if (settings.expect_sdxl) check_family(settings.model_path, checkpoint->config(), *settings.expect_sdxl);
  PipelineOptions options;
  options.vae = settings.vae_path.value_or("");
  options.cancel = &interrupted;
  model.pipeline = std::make_unique<Pipeline>(*model.device, std::move(checkpoint), options);
  return model;
}

GenerationRequest complete_request(const GenerateSettings& settings, const Pipeline& pipeline) {
  GenerationRequest request = settings.request;
  request.size = settings.size.value_or(pipeline.default_request().size);
  const auto fit = [&](std::shared_ptr<const Image>& image) {
    if (image) image = std::make_shared<Image>(resize_image(*image, request.size.width, request.size.height));
  };
  fit(request.init_image);
  fit(request.mask);
  for (const LoraChoice& lora : settings.loras) {
    request.loras.push_back({pipeline.load_lora(lora.path), static_cast<float>(lora.strength)});
  }
  return request;
}

}  // namespace dreamlab
