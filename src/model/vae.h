#pragma once

// The variational autoencoder between pictures and latents (diffusers' AutoencoderKL). Pictures are [N, H, W, 3] in
// -1..1 (not clamped); latents here are the raw ones, that is already divided by scaling_factor for the decoder and not
// yet multiplied by it from the encoder.
#include <cstdint>
#include <optional>
#include <vector>

#include "layer/attention.h"
#include "layer/conv2d.h"
#include "layer/layer_group.h"
#include "layer/resnet.h"
#include "weights/model_config.h"

namespace dreamlab {

// Tiles of latents; pictures are tiled at 8 (2 per level of the network but the last) times that. Neighbors overlap by
// a quarter and are blended linearly (diffusers' tiled_decode and tiled_encode).
struct VaeTiling {
  int64_t latent_tile = 64;
  double overlap = 0.25;
};

class VaeMidBlock {
 public:
  VaeMidBlock(const LayerScope& scope, const VaeConfig& config);
  Tensor forward(const Context& context, Tensor x) const;

 private:
  ResnetBlock resnet0_;
  std::optional<VaeAttention> attention_;
  ResnetBlock resnet1_;
};

class VaeDecoder {
 public:
  VaeDecoder(Device& device, const VaeConfig& config, const WeightSource& weights);

  // latents [N, h, w, latent_channels] to pictures [N, 8h, 8w, 3].
  // Taps: post_quant_conv, conv_in, mid_block, up_blocks.I.
  Tensor decode(const Context& context, const Tensor& latents) const;
  // Tells the device what decode() of latents [1, height, width, C] will take: best before what lives until then is
  // made.
  void expect(Device& device, int64_t height, int64_t width) const;
  // The same in tiles where the latents are larger than one tile; f32 on the host side of the seams. Each image on its
  // own.
  Tensor decode_tiled(const Context& context, const Tensor& latents, const VaeTiling& tiling = {}) const;

  const VaeConfig& config() const { return config_; }

 private:
  struct Level {
    std::vector<ResnetBlock> resnets;
    std::optional<Upsample> upsampler;
  };

  LayerGroup group_;
  VaeConfig config_;
  std::optional<Linear> post_quant_conv_;
  Conv2d conv_in_;
  VaeMidBlock mid_block_;
  std::vector<Level> up_blocks_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

// A diagonal Gaussian over latents, on the host: [N, h, w, latent_channels] each.
struct LatentDistribution {
  Shape shape;
  std::vector<float> mean;
  std::vector<float> logvar;  // clamped to -30..20

  // mean + exp(logvar / 2) * noise; noise as many values as mean, channels last.
  std::vector<float> sample(std::span<const float> noise) const;
};

class VaeEncoder {
 public:
  VaeEncoder(Device& device, const VaeConfig& config, const WeightSource& weights);

  // pictures [N, H, W, 3] to distributions of [N, H/8, W/8, latent_channels]. Taps: conv_in, down_blocks.I, mid_block.
  LatentDistribution encode(const Context& context, const Tensor& pictures) const;
  LatentDistribution encode_tiled(const Context& context, const Tensor& pictures, const VaeTiling& tiling = {}) const;

  const VaeConfig& config() const { return config_; }

 private:
  struct Level {
    std::vector<ResnetBlock> resnets;
    std::optional<Downsample> downsampler;
  };

  // [N, H/8, W/8, 2 * latent_channels]: mean, then logvar, not clamped.
  Tensor moments(const Context& context, const Tensor& pictures) const;

  LayerGroup group_;
  VaeConfig config_;
  Conv2d conv_in_;
  std::vector<Level> down_blocks_;
  VaeMidBlock mid_block_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
  std::optional<Linear> quant_conv_;
};

// Pixels per latent along a side: 2 to the number of levels less one (8).
int64_t vae_scale_factor(const VaeConfig& config);

}  // namespace dreamlab
