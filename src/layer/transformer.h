#pragma once

// Spatial transformers of the UNet (diffusers' Transformer2DModel, BasicTransformerBlock and FeedForward).
#include <cstdint>
#include <span>
#include <vector>

#include "layer/attention.h"
#include "layer/layer_group.h"
#include "layer/linear.h"
#include "layer/norm.h"

namespace dreamlab {

// A linear layer to h and g, then h * gelu(g) ("GLU Variants Improve Transformer", Shazeer 2020).
class Geglu {
 public:
  // Weights "proj.weight" [2 * inner, channels] below `scope`.
  Geglu(const LayerScope& scope, int64_t channels, int64_t inner);
  // x [.., channels] to [.., inner]
  Tensor forward(const Context& context, const Tensor& x) const;

 private:
  std::string name_;
  std::unique_ptr<LinearWeights> weights_;
};

// GEGLU to 4 times the channels and back.
class FeedForward {
 public:
  FeedForward(const LayerScope& scope, int64_t channels);
  Tensor forward(const Context& context, const Tensor& x, const Tensor* residual = nullptr) const;

 private:
  Geglu geglu_;
  Linear out_;
};

// Self-attention, cross-attention and feed-forward, each behind a layer norm and with a residual.
class BasicTransformerBlock {
 public:
  BasicTransformerBlock(const LayerScope& scope, int64_t channels, int64_t text_channels, int64_t heads);

  Tensor project_text(const Context& context, const Tensor& text) const;
  // x [N, T, channels]; keys_values from project_text.
  Tensor forward(const Context& context, Tensor x, const Tensor& keys_values) const;

 private:
  LayerGroup group_;
  LayerNorm norm1_;
  SelfAttention attn1_;
  LayerNorm norm2_;
  CrossAttention attn2_;
  LayerNorm norm3_;
  FeedForward ff_;
};

class Transformer2D {
 public:
  Transformer2D(const LayerScope& scope, int64_t channels, int64_t text_channels, int64_t heads, int64_t depth,
                int64_t groups);

  int64_t depth() const { return static_cast<int64_t>(blocks_.size()); }
  // Appends the keys and values of each block.
  void project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const;
  // x [N, H, W, channels]; takes its depth() keys and values from the front of `keys_values`.
  Tensor forward(const Context& context, const Tensor& x, std::span<const Tensor>& keys_values) const;

 private:
  GroupNorm norm_;
  Linear proj_in_;
  std::vector<BasicTransformerBlock> blocks_;
  Linear proj_out_;
};

}  // namespace dreamlab
