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
  const int64_t pixels = sample.height * sample.width, channels = sample.channels, width = input_channels();
  const auto row = static_cast<size_t>(pixels * width);
  if (!inputs_.channels) {
    inputs_.sampler->scale_model_input(call_, sample.values, out.first(row));
  } else {
    std::vector<float> scaled(sample.values.size());
    inputs_.sampler->scale_model_input(call_, sample.values, scaled);
    const Latents& masked = inputs_.channels->masked_image;
    for (int64_t i = 0; i < pixels; ++i) {
      float* to = std::copy_n(scaled.data() + i * channels, channels, out.data() + i * width);
      *to++ = inputs_.channels->mask[i];
      std::copy_n(masked.values.data() + i * masked.channels, masked.channels, to);
    }
  }
  for (int64_t r = 1; r < rows(); ++r) std::copy_n(out.begin(), row, out.begin() + static_cast<int64_t>(row) * r);
}

void DenoisingJob::draw_ahead() {
  if (!draws_ || !drawn_.empty() || call_ + 1 >= calls()) return;
  const Latents& sample = latents();
  drawn_ = draw_latents(*inputs_.noise, sample.height, sample.width, sample.channels).values;
}

// What was drawn ahead, then what the job's own source gives.
class DenoisingJob::StepNoise : public NoiseSource {
 public:
  explicit StepNoise(DenoisingJob& job)
      : job_(job), source_(*job.inputs_.noise, job.latents().height, job.latents().width, job.latents().channels) {
    job_.draws_ = false;
  }

  void normals(std::span<float> out) override {
    job_.draws_ = true;
    if (job_.drawn_.size() != out.size()) return source_.normals(out);
    std::copy(job_.drawn_.begin(), job_.drawn_.end(), out.begin());
    job_.drawn_.clear();
  }

 private:
  DenoisingJob& job_;
  LatentNoise source_;
};

void DenoisingJob::advance(std::span<const float> output) {
  Latents& sample = inputs_.start;
  const size_t size = sample.values.size();
  std::span<const float> guided = output.last(size);  // the prompt's own
  std::vector<float> combined;
  if (inputs_.text.negative) {
    combined.resize(size);
    combine_guidance(output.first(size), guided, static_cast<float>(inputs_.guidance_scale), combined);
    if (inputs_.guidance_rescale > 0) rescale_guidance(guided, static_cast<float>(inputs_.guidance_rescale), combined);
    guided = combined;
  }
  StepNoise noise(*this);
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
