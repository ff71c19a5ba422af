#pragma once

// Latents on the host: f32, channels last ([H, W, C], one request), and their ways to and from pictures.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/image.h"
#include "scheduler/random.h"

namespace dreamlab {

constexpr int64_t kLatentScale = 8;  // pixels a side that one latent pixel stands for

struct Latents {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 4;
  std::vector<float> values;  // [H, W, C]

  Latents() = default;
  Latents(int64_t height, int64_t width, int64_t channels, std::vector<float> values);
  static Latents zeros(int64_t height, int64_t width, int64_t channels);
  // From [C, H, W], PyTorch's order.
  static Latents from_chw(std::span<const float> values, int64_t channels, int64_t height, int64_t width);
  std::vector<float> to_chw() const;
};

// Standard normals as torch.randn([1, C, H, W]) of that generator gives them.
Latents draw_latents(NoiseSource& noise, int64_t height, int64_t width, int64_t channels);

// Numbers for latents that are kept channels last: every draw is made in PyTorch's order ([C, H, W]) and then
// rearranged. A draw must be of one such tensor.
class LatentNoise : public NoiseSource {
 public:
  LatentNoise(NoiseSource& source, int64_t height, int64_t width, int64_t channels)
      : source_(source), height_(height), width_(width), channels_(channels) {}
  void normals(std::span<float> out) override;

 private:
  NoiseSource& source_;
  int64_t height_, width_, channels_;
};

constexpr size_t kFingerprintBytes = 512;
using Fingerprint = std::array<uint8_t, kFingerprintBytes>;

// The final latents averaged to [1, 4, 8, 8] (adaptive average pooling in f32), as little-endian float16 in NCHW order.
Fingerprint latent_fingerprint(const Latents& latents);

// A VAE's output [H, W, 3], nominally in -1..1, to a picture, by to_pixel.
Image to_image(std::span<const float> values, int64_t height, int64_t width);
// A picture to a VAE's input [H, W, 3] in -1..1: 2 * (value / 255) - 1. Alpha is laid over black.
std::vector<float> from_image(const Image& image);

// What to repaint of a picture, as in-painting wants it: 1 where the picture's luma is 0.5 or more, [H, W].
std::vector<float> to_mask(const Image& image);
// A mask of the picture at the size of its latents: every eighth pixel of every eighth row, [H/8, W/8].
std::vector<float> shrink_mask(std::span<const float> mask, int64_t height, int64_t width);

}  // namespace dreamlab
