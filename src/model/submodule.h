#pragma once

// One module of a network by its diffusers path, built from the weights alone: for verification.
#include <optional>
#include <string_view>
#include <vector>

#include "layer/context.h"
#include "weights/model_config.h"
#include "weights/weight_source.h"

namespace dreamlab {

struct SubmoduleInput {
  Tensor x;                      // [N, H, W, C] or [N, T, C]
  Tensor temb;                   // [N, C]: the time embedding, before SiLU; resnet blocks of a UNet
  Tensor encoder_hidden_states;  // [N, tokens, C]; modules with cross-attention
  std::optional<Size> size;      // of an upsampler's result
  std::vector<float> timesteps;  // for "time_proj+time_embedding"
};

// Runs `path` of a UNet: conv_in, conv_out, "time_proj+time_embedding", and below a block: resnets.I (and its norms),
// attentions.I (and norm, proj_in, proj_out), transformer_blocks.I, attn1, attn2, norm1..3, ff, ff.net.0, ff.net.2,
// downsamplers.0, upsamplers.0. Throws Error(unsupported) for a path that is none of these, Error(invalid_file) where
// its weights are missing.
Tensor run_submodule(const Context& context, const WeightSource& weights, const UNetConfig& config,
                     std::string_view path, const SubmoduleInput& input);

// The same for a VAE: quant_conv, post_quant_conv, and below encoder or decoder: conv_in, conv_out, conv_norm_out,
// resnets.I (and its norms), attentions.0, downsamplers.0, upsamplers.0.
Tensor run_submodule(const Context& context, const WeightSource& weights, const VaeConfig& config,
                     std::string_view path, const SubmoduleInput& input);

}  // namespace dreamlab
