#pragma once

// diffusers' ResnetBlock2D, Downsample2D and Upsample2D.
#include <cstdint>
#include <optional>

#include "layer/conv2d.h"
#include "layer/layer_group.h"
#include "layer/linear.h"
#include "layer/norm.h"

namespace dreamlab {

struct ResnetDims {
  int64_t in = 0;
  int64_t out = 0;
  int64_t time_channels = 0;  // width of the time embedding; 0: a block without one (VAE)
  int64_t groups = 32;
  double eps = 1e-5;
};

class ResnetBlock {
 public:
  ResnetBlock(const LayerScope& scope, const ResnetDims& dims);

  // x [N, H, W, in] to [N, H, W, out]. time: silu(time embedding) [N, time_channels]; undefined in a block without one.
  // x goes as soon as it can: pass it by move where memory matters.
  Tensor forward(const Context& context, Tensor x, const Tensor& time = {}) const;

 private:
  LayerGroup group_;
  GroupNorm norm1_;
  Conv2d conv1_;
  std::optional<Linear> time_emb_proj_;
  GroupNorm norm2_;
  Conv2d conv2_;
  std::optional<Linear> conv_shortcut_;  // where in and out differ
};

enum class DownsamplePadding {
  both_sides,        // UNet
  right_and_bottom,  // VAE
};

// Half the size by a 3x3 convolution with stride 2.
class Downsample {
 public:
  Downsample(const LayerScope& scope, int64_t channels, DownsamplePadding padding);
  Tensor forward(const Context& context, const Tensor& x) const;

 private:
  Conv2d conv_;
};

// Nearest neighbor, then a 3x3 convolution.
class Upsample {
 public:
  Upsample(const LayerScope& scope, int64_t channels);
  // size: of the result; unset: twice the size of x.
  Tensor forward(const Context& context, const Tensor& x, std::optional<Size> size = std::nullopt) const;

 private:
  Conv2d conv_;
};

}  // namespace dreamlab
