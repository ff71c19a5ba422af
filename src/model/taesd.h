#pragma once

// The tiny autoencoder for previews (diffusers' AutoencoderTiny; TAESD by Ollin Boer Bohan).
#include <optional>
#include <vector>

#include "layer/conv2d.h"
#include "layer/layer_scope.h"
#include "weights/model_config.h"

namespace dreamlab {

// Convolutions and residual blocks in a row, as AutoencoderTiny numbers them ("decoder.layers.7").
class TaesdNetwork {
 public:
  struct Step {
    enum class Kind { conv, block, upsample_conv } kind;
    std::vector<Conv2d> convs;  // one, or the three of a block
    Activation activation = Activation::none;
  };

  explicit TaesdNetwork(std::vector<Step> steps) : steps_(std::move(steps)) {}
  // last: the epilogue of the last convolution.
  Tensor forward(const Context& context, Tensor x, const Epilogue& last = {}) const;

 private:
  std::vector<Step> steps_;
};

class TaesdDecoder {
 public:
  TaesdDecoder(Device& device, const TaesdConfig& config, const WeightSource& weights);
  // Latents as the UNet sees them (scaled) [N, h, w, 4] to pictures [N, 8h, 8w, 3] in about -1..1.
  Tensor decode(const Context& context, const Tensor& latents) const;
  const TaesdConfig& config() const { return config_; }

 private:
  TaesdConfig config_;
  TaesdNetwork network_;
};

class TaesdEncoder {
 public:
  TaesdEncoder(Device& device, const TaesdConfig& config, const WeightSource& weights);
  // Pictures [N, H, W, 3] in -1..1 to scaled latents [N, H/8, W/8, 4].
  Tensor encode(const Context& context, const Tensor& pictures) const;
  const TaesdConfig& config() const { return config_; }

 private:
  TaesdConfig config_;
  TaesdNetwork network_;
};

}  // namespace dreamlab
