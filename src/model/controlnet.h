#pragma once

// diffusers' ControlNetModel ("Adding Conditional Control to Text-to-Image Diffusion Models", Zhang et al. 2023).
#include <vector>

#include "model/unet.h"
#include "model/unet_blocks.h"
#include "weights/model_config.h"

namespace dreamlab {

struct ControlNetInput {
  Tensor sample;                      // [N, H, W, 4]: the UNet's latents
  std::vector<float> timesteps;       // N
  const TextContext* text = nullptr;  // from this network's project_text
  AddedConditions added;              // SDXL
  Tensor condition;                   // [N, H, W, C]: the condition picture's embedding, from embed_condition
  float scale = 1.0f;                 // conditioning scale: multiplies every residual
};

class ControlNet {
 public:
  ControlNet(Device& device, const ControlNetConfig& config, const WeightSource& weights,
             const std::string& name = "controlnet");

  TextContext project_text(const Context& context, const Tensor& encoder_hidden_states) const;
  // The condition picture [N, 8H, 8W, 3] in 0..1 to [N, H, W, C]; once per image.
  Tensor embed_condition(const Context& context, const Tensor& picture) const;
  // Throws Error(invalid_argument) when the inputs do not fit the network or each other.
  ControlResiduals forward(const Context& context, const ControlNetInput& input) const;

  const ControlNetConfig& config() const { return config_; }

 private:
  ControlNetConfig config_;
  UNetEncoder encoder_;
  std::vector<Conv2d> condition_convs_;  // all but the last are followed by SiLU
  std::vector<Linear> controlnet_down_blocks_;
  Linear controlnet_mid_block_;
};

}  // namespace dreamlab
