#include "pipeline/initial_latents.h"

namespace dreamlab {

namespace {

// The noise of one request, in the order in which diffusers draws it from its one generator, and the latents of its
// pictures.
class PictureInputs {
 public:
  PictureInputs(Pipeline& pipeline, const GenerationRequest& request, NoiseSource& source, const CancelToken* cancel)
      : pipeline_(pipeline), request_(request), source_(source), cancel_(cancel) {}

  void fill(DenoisingInputs& inputs) {
    const bool nine_channels = pipeline_.config().is_inpainting();
    // StableDiffusionInpaintPipeline.prepare_latents starts from pure noise at full strength; plain image-to-image
    // never does.
    const bool pure_noise = !request_.init_image || ((nine_channels || request_.mask) && request_.strength >= 1.0);
    const bool needs_original = request_.init_image && !(nine_channels && pure_noise);
    if (request_.init_latents) {
      inputs.start = *request_.init_latents;
      return;
    }
    Latents original;
    if (needs_original) original = encode(from_image(*request_.init_image));
    Latents noise = draw();
    inputs.start =
        pure_noise ? scaled(noise, inputs.sampler->init_noise_sigma()) : noised(original, noise, *inputs.sampler);
    if (nine_channels) {
      inputs.channels = mask_channels();
    } else if (request_.mask) {
      // diffusers encodes the masked picture here too and makes no use of it; the generator moves on all the same.
      draw();
      inputs.blending = MaskBlending{latent_mask(), std::move(original), std::move(noise)};
    }
  }

 private:
  int64_t height() const { return request_.size.height / kLatentScale; }
  int64_t width() const { return request_.size.width / kLatentScale; }

  Latents draw() { return draw_latents(source_, height(), width(), pipeline_.config().vae.latent_channels); }

  Latents encode(const std::vector<float>& picture) {
    const Latents posterior_noise = draw();
    return pipeline_.encode(picture, request_.size, posterior_noise, request_.vae_tiling, cancel_);
  }

  static Latents scaled(Latents latents, double factor) {
    for (float& value : latents.values) value *= static_cast<float>(factor);
    return latents;
  }

  static Latents noised(const Latents& original, const Latents& noise, const Sampler& sampler) {
    Latents start = original;
    sampler.add_noise(original.values, noise.values, 0, start.values);
    return start;
  }

  // Without a picture, everything is to be painted, and without a mask all of it.
  std::vector<float> picture_mask() const {
    if (request_.mask) return to_mask(*request_.mask);
    return std::vector<float>(static_cast<size_t>(request_.size.width * request_.size.height), 1.0f);
  }

  std::vector<float> latent_mask() const {
    return shrink_mask(picture_mask(), request_.size.height, request_.size.width);
  }

  // An in-painting UNet sees the picture with the part to repaint blanked to middle gray.
  MaskChannels mask_channels() {
    const std::vector<float> mask = picture_mask();
    std::vector<float> picture(3 * mask.size(), 0.0f);
    if (request_.init_image) picture = from_image(*request_.init_image);
    for (size_t i = 0; i < picture.size(); ++i) {
      if (mask[i / 3] >= 0.5f) picture[i] = 0.0f;
    }
    return {latent_mask(), encode(picture)};
  }

  Pipeline& pipeline_;
  const GenerationRequest& request_;
  NoiseSource& source_;
  const CancelToken* cancel_;
};

}  // namespace

void prepare_latents(Pipeline& pipeline, const GenerationRequest& request, DenoisingInputs& inputs,
                     const CancelToken* cancel) {
  PictureInputs(pipeline, request, *inputs.noise, cancel).fill(inputs);
}

}  // namespace dreamlab
