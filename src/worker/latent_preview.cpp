#include "worker/latent_preview.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr int64_t kLatentChannels = 4;

// byte = offset + factors . latent
struct ColorMap {
  std::array<float, 3> offset;
  std::array<std::array<float, kLatentChannels>, 3> factors;  // of red, green, blue
};

// "Decoding latents to RGB without upscaling" (Keturn, Hugging Face forum, 2022), fitted to the VAE of SD 1.x and 2.x;
// there in units of half the range of a byte.
constexpr float kHalf = 127.5f;
constexpr ColorMap kSd = {{kHalf, kHalf, kHalf},
                          {{{0.298f * kHalf, 0.187f * kHalf, -0.158f * kHalf, -0.184f * kHalf},
                            {0.207f * kHalf, 0.286f * kHalf, 0.189f * kHalf, -0.271f * kHalf},
                            {0.208f * kHalf, 0.173f * kHalf, 0.264f * kHalf, -0.473f * kHalf}}}};

// "Explaining the SDXL latent space" (Timothy Alexis Vass, Hugging Face blog, 2023).
constexpr ColorMap kSdxl = {{150, 140, 130}, {{{60, -60, 25, -70}, {60, -5, 15, -50}, {60, 10, -5, -35}}}};

uint8_t to_byte(float value) {
  // Written so that NaN becomes 0.
  return value > 0 ? static_cast<uint8_t>(std::lround(std::min(value, 255.0f))) : uint8_t{0};
}

}  // namespace

Image latent_preview(const Latents& latents, Family family) {
  if (latents.channels != kLatentChannels) fail(ErrorKind::internal, "a preview of {} channels", latents.channels);
  const bool sdxl = family == Family::sdxl || family == Family::sdxl_refiner;
  const ColorMap& map = sdxl ? kSdxl : kSd;
  Image image = Image::blank(latents.width, latents.height);
  for (int64_t pixel = 0; pixel < latents.width * latents.height; ++pixel) {
    const float* latent = latents.values.data() + pixel * kLatentChannels;
    for (size_t color = 0; color < 3; ++color) {
      float value = map.offset[color];
      for (int64_t c = 0; c < kLatentChannels; ++c) value += map.factors[color][static_cast<size_t>(c)] * latent[c];
      image.pixels[static_cast<size_t>(pixel) * 3 + color] = to_byte(value);
    }
  }
  return image;
}

Image latent_preview(const DenoisingJob& job, Family family) {
  Latents latents = job.latents();
  if (!job.done()) job.inputs().sampler->scale_model_input(job.call(), latents.values, latents.values);
  return latent_preview(latents, family);
}

}  // namespace dreamlab
