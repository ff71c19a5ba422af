#pragma once

// The denoiser of Stable Diffusion 1.x, 2.x and SDXL (diffusers' UNet2DConditionModel).
#include <cstdint>
#include <vector>

#include "layer/conv2d.h"
#include "layer/norm.h"
#include "model/unet_blocks.h"
#include "weights/model_config.h"

namespace dreamlab {

// What a ControlNet adds to a UNet: one tensor per skip connection, in the order of the down path (conv_in first), and
// one for the middle block. Already scaled.
struct ControlResiduals {
  std::vector<Tensor> down;  // [N, H, W, C] of each skip connection
  Tensor mid;

  // Adds those of another ControlNet for the same UNet.
  void add(Device& device, const ControlResiduals& other);
};

struct UNetInput {
  Tensor sample;                 // [N, H, W, in_channels]: latents (in-painting: latents, mask, masked-image latents)
  std::vector<float> timesteps;  // N
  const TextContext* text = nullptr;                    // from project_text, of N images
  AddedConditions added;                                // SDXL
  std::vector<float> guidance_embedding;                // N * time_cond_proj_dim of guidance_scale_embedding; or empty
  const ControlResiduals* control_residuals = nullptr;  // or none
};

class UNet {
 public:
  // Packs all weights. name: what adapters call this network.
  UNet(Device& device, const UNetConfig& config, const WeightSource& weights, const std::string& name = "unet");

  // Keys and values of every cross-attention for text states [N, tokens, cross_attention_dim]; they serve all steps.
  // Low-rank adapters of the context go into them.
  TextContext project_text(const Context& context, const Tensor& encoder_hidden_states) const;

  // The predicted noise (or v) [N, H, W, out_channels], in the compute dtype. Any H and W: the up path returns to the
  // sizes of the skip connections. Throws Error(invalid_argument) when the inputs do not fit the network or each other.
  // Taps: time_embedding, add_embedding, conv_in, down_blocks.I, down_blocks.I.res.J, mid_block, up_blocks.I,
  // conv_norm_out.
  Tensor forward(const Context& context, const UNetInput& input) const;

  const UNetConfig& config() const { return config_; }

 private:
  // What follows the embedding of the conditions, `time`.
  Tensor compute(const Context& context, const Tensor& sample, const Tensor& time, std::span<const Tensor> keys_values,
                 const ControlResiduals* residuals) const;

  uint64_t id_;  // the device's name for this network
  UNetConfig config_;
  UNetEncoder encoder_;
  std::vector<UpBlock> up_blocks_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

}  // namespace dreamlab
