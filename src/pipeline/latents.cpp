#include "pipeline/latents.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/dtype.h"
#include "tensor/pixels.h"

namespace dreamlab {

namespace {

// [C, H, W] to [H, W, C] or back.
void chw_to_hwc(std::span<const float> from, int64_t channels, int64_t pixels, std::span<float> to) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < pixels; ++i) to[i * channels + c] = from[c * pixels + i];
  }
}

void hwc_to_chw(std::span<const float> from, int64_t channels, int64_t pixels, std::span<float> to) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < pixels; ++i) to[c * pixels + i] = from[i * channels + c];
  }
}

}  // namespace

Latents::Latents(int64_t height, int64_t width, int64_t channels, std::vector<float> values)
    : height(height), width(width), channels(channels), values(std::move(values)) {
  if (static_cast<int64_t>(this->values.size()) != height * width * channels) {
    fail(ErrorKind::internal, "latents of {}x{}x{} made from {} values", height, width, channels, this->values.size());
  }
}

Latents Latents::zeros(int64_t height, int64_t width, int64_t channels) {
  return Latents(height, width, channels, std::vector<float>(static_cast<size_t>(height * width * channels)));
}

Latents Latents::from_chw(std::span<const float> values, int64_t channels, int64_t height, int64_t width) {
  Latents latents = zeros(height, width, channels);
  if (values.size() != latents.values.size()) {
    fail(ErrorKind::internal, "latents of {}x{}x{} made from {} values", height, width, channels, values.size());
  }
  chw_to_hwc(values, channels, height * width, latents.values);
  return latents;
}

std::vector<float> Latents::to_chw() const {
  std::vector<float> chw(values.size());
  hwc_to_chw(values, channels, height * width, chw);
  return chw;
}

Latents draw_latents(NoiseSource& noise, int64_t height, int64_t width, int64_t channels) {
  Latents latents = Latents::zeros(height, width, channels);
  LatentNoise(noise, height, width, channels).normals(latents.values);
  return latents;
}

void LatentNoise::normals(std::span<float> out) {
  if (static_cast<int64_t>(out.size()) != height_ * width_ * channels_) {
    fail(ErrorKind::internal, "{} normals drawn for latents of {}x{}x{}", out.size(), height_, width_, channels_);
  }
  std::vector<float> drawn(out.size());
  source_.normals(drawn);
  chw_to_hwc(drawn, channels_, height_ * width_, out);
}

Fingerprint latent_fingerprint(const Latents& latents) {
  constexpr int64_t kSide = 8, kChannels = 4;
  if (latents.channels != kChannels) fail(ErrorKind::internal, "a fingerprint of {} latent channels", latents.channels);
  // Cell i of an adaptive pool covers floor(i * n / 8) up to ceil((i + 1) * n / 8).
  const auto begin = [](int64_t cell, int64_t n) { return cell * n / kSide; };
  const auto end = [](int64_t cell, int64_t n) { return ((cell + 1) * n + kSide - 1) / kSide; };
  Fingerprint fingerprint;
  size_t at = 0;
  for (int64_t c = 0; c < kChannels; ++c) {
    for (int64_t y = 0; y < kSide; ++y) {
      for (int64_t x = 0; x < kSide; ++x) {
        const int64_t top = begin(y, latents.height), bottom = end(y, latents.height);
        const int64_t left = begin(x, latents.width), right = end(x, latents.width);
        float sum = 0;
        for (int64_t row = top; row < bottom; ++row) {
          for (int64_t column = left; column < right; ++column) {
            sum += latents.values[(row * latents.width + column) * kChannels + c];
          }
        }
        // Divided by rows, then by columns: PyTorch's order of rounding.
        const float mean = sum / static_cast<float>(bottom - top) / static_cast<float>(right - left);
        const uint16_t bits = Float16::from_float(mean).bits;
        fingerprint[at++] = static_cast<uint8_t>(bits);
        fingerprint[at++] = static_cast<uint8_t>(bits >> 8);
      }
    }
  }
  return fingerprint;
}

Image to_image(std::span<const float> values, int64_t height, int64_t width) {
  Image image = Image::blank(width, height, 3);
  if (values.size() != image.pixels.size()) {
    fail(ErrorKind::internal, "a picture of {}x{} made from {} values", width, height, values.size());
  }
  std::transform(values.begin(), values.end(), image.pixels.begin(), to_pixel);
  return image;
}

std::vector<float> from_image(const Image& image) {
  const Image opaque = drop_alpha(image);
  std::vector<float> values(opaque.pixels.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = 2.0f * (static_cast<float>(opaque.pixels[i]) / 255.0f) - 1.0f;
  return values;
}

std::vector<float> to_mask(const Image& image) {
  const std::vector<uint8_t> gray = to_gray(image);
  std::vector<float> mask(gray.size());
  std::transform(gray.begin(), gray.end(), mask.begin(),
                 [](uint8_t value) { return static_cast<float>(value) / 255.0f < 0.5f ? 0.0f : 1.0f; });
  return mask;
}

std::vector<float> shrink_mask(std::span<const float> mask, int64_t height, int64_t width) {
  std::vector<float> small;
  small.reserve(static_cast<size_t>((height / kLatentScale) * (width / kLatentScale)));
  for (int64_t y = 0; y + kLatentScale <= height; y += kLatentScale) {
    for (int64_t x = 0; x + kLatentScale <= width; x += kLatentScale) small.push_back(mask[y * width + x]);
  }
  return small;
}

}  // namespace dreamlab
