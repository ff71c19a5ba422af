#pragma once

// ESRGAN's generator ("ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", Wang et al. 2018;
// Real-ESRGAN).
#include <array>
#include <vector>

#include "layer/conv2d.h"
#include "weights/model_config.h"

namespace dreamlab {

class RrdbNet {
 public:
  RrdbNet(Device& device, const RrdbNetConfig& config, const WeightSource& weights);

  // pictures [N, H, W, 3] in 0..1 to [N, scale * H, scale * W, 3], not clamped. Throws Error(invalid_argument) for
  // other channels, or sides that `unshuffle` does not divide.
  Tensor forward(const Context& context, const Tensor& pictures) const;

  const RrdbNetConfig& config() const { return config_; }

 private:
  using DenseBlock = std::vector<Conv2d>;  // five convolutions, each reading all before it

  Tensor unshuffle(const Context& context, const Tensor& pictures) const;
  Tensor dense_block(const Context& context, const DenseBlock& block, const Tensor& x) const;

  RrdbNetConfig config_;
  Conv2d conv_first_;
  std::vector<std::array<DenseBlock, 3>> body_;
  Conv2d conv_body_;
  std::vector<Conv2d> conv_up_;  // each doubles the size
  Conv2d conv_hr_, conv_last_;
};

}  // namespace dreamlab
