#pragma once

// Multi-head attention with fused projections (diffusers' Attention). q and k are scaled by 1/sqrt(head size); scores
// are computed in f32 on every device, which is what `upcast_attention` asks for.
#include <string>
#include <vector>

#include "layer/linear.h"
#include "layer/norm.h"

namespace dreamlab {

// Module names inside an attention layer, and which of its products have a bias.
struct AttentionNames {
  std::vector<std::string> qkv = {"to_q", "to_k", "to_v"};
  std::string out = "to_out.0";
  Bias qkv_bias = Bias::none;
};

class SelfAttention {
 public:
  SelfAttention(const LayerScope& scope, int64_t channels, int64_t heads, const AttentionNames& names = {});

  // x [N, T, channels]; `residual`, where given, is added to the result. causal: token i sees tokens 0..i.
  Tensor forward(const Context& context, const Tensor& x, const Tensor* residual = nullptr) const;
  Tensor forward_causal(const Context& context, const Tensor& x, const Tensor* residual = nullptr) const;

 private:
  Tensor attend(const Context& context, const Tensor& x, bool causal, const Tensor* residual) const;

  int64_t channels_, heads_;
  FusedLinear qkv_;
  Linear out_;
};

class CrossAttention {
 public:
  // text_channels: width of the text states.
  CrossAttention(const LayerScope& scope, int64_t channels, int64_t text_channels, int64_t heads);

  // Text states [N, tokens, text_channels] to keys and values [N, tokens, 2 * channels], keys first. They do not depend
  // on the timestep: once per image is enough.
  Tensor project_text(const Context& context, const Tensor& text) const;
  // x [N, T, channels]; keys_values from project_text.
  Tensor forward(const Context& context, const Tensor& x, const Tensor& keys_values,
                 const Tensor* residual = nullptr) const;

 private:
  int64_t channels_, heads_;
  Linear q_;
  FusedLinear kv_;
  Linear out_;
};

// The attention of the VAE's middle block: group norm, one head over all pixels, residual.
class VaeAttention {
 public:
  VaeAttention(const LayerScope& scope, int64_t channels, int64_t groups, double eps);
  // x [N, H, W, channels]
  Tensor forward(const Context& context, const Tensor& x) const;

 private:
  GroupNorm norm_;
  SelfAttention attention_;
};

}  // namespace dreamlab
