#include "pipeline/denoising_job.h"

#include <algorithm>

#include "base/error.h"
#include "scheduler/guidance.h"

namespace dreamlab {

DenoisingJob::DenoisingJob(uint64_t serial, DenoisingInputs inputs, TextContext text, Tensor pooled)
    : serial_(serial), inputs_(std::move(inputs)), text_(std::move(text)), pooled_(std::move(pooled)) {}

int64_t DenoisingJob::input_channels() const {
  const int64_t channels = latents().channels;
  return inputs_.channels ? channels + 1 + inputs_.channels->masked_image.channels : channels;
}

void DenoisingJob::fill_input(std::span<float> out) const {
  const Latents& sample = latents();
  std::vector<float> scaled(sample.values.size());
  inputs_.sampler->scale_model_input(call_, sample.values, scaled);

  const int64_t pixels = sample.height * sample.width, channels = sample.channels, width = input_channels();
  const auto row = static_cast<size_t>(pixels * width);
  for (int64_t i = 0; i < pixels; ++i) {
    float* to = std::copy_n(scaled.data() + i * channels, channels, out.data() + i * width);
    if (!inputs_.channels) continue;
    *to++ = inputs_.channels->mask[i];
    const Latents& masked = inputs_.channels->masked_image;
    std::copy_n(masked.values.data() + i * masked.channels, masked.channels, to);
  }
  for (int64_t r = 1; r < rows(); ++r) std::copy_n(out.begin(), row, out.begin() + static_cast<int64_t>(row) * r);
}

void DenoisingJob::advance(std::span<const float> output) {
  Latents& sample = inputs_.start;
  const size_t size = sample.values.size();
  std::vector<float> guided(output.end() - static_cast<std::ptrdiff_t>(size), output.end());  // the prompt's own
  if (inputs_.text.negative) {
    const std::span<const float> uncond = output.first(size), cond = output.last(size);
    combine_guidance(uncond, cond, static_cast<float>(inputs_.guidance_scale), guided);
    if (inputs_.guidance_rescale > 0) rescale_guidance(cond, static_cast<float>(inputs_.guidance_rescale), guided);
  }
  LatentNoise noise(*inputs_.noise, sample.height, sample.width, sample.channels);
  inputs_.sampler->step(call_, guided, sample.values, noise);
  ++call_;
  if (inputs_.blending) blend();
  if (inputs_.observer) inputs_.observer(call_ - 1, sample, guided);
}

void DenoisingJob::blend() {
  const MaskBlending& blending = *inputs_.blending;
  Latents& sample = inputs_.start;
  std::vector<float> kept(sample.values.size());
  inputs_.sampler->add_noise(blending.original.values, blending.noise.values, call_, kept);
  for (size_t i = 0; i < kept.size(); ++i) {
    const float mask = blending.mask[i / static_cast<size_t>(sample.channels)];
    sample.values[i] = (1.0f - mask) * kept[i] + mask * sample.values[i];
  }
}

}  // namespace dreamlab
