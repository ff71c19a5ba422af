#pragma once

// The sub-pixel convolutional network ("Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
// Convolutional Neural Network", Shi et al. 2016).
#include <vector>

#include "layer/conv2d.h"
#include "weights/model_config.h"

namespace dreamlab {

class Espcn {
 public:
  Espcn(Device& device, const EspcnConfig& config, const WeightSource& weights);

  // luminance [N, H, W, 1] in the range of config() to [N, scale * H, scale * W, 1], not clamped. Throws
  // Error(invalid_argument) for other channels.
  Tensor forward(const Context& context, const Tensor& luminance) const;

  const EspcnConfig& config() const { return config_; }

 private:
  // torch.nn.functional.pixel_shuffle: channel dy * scale + dx becomes row dy and column dx of a cell.
  Tensor shuffle(const Context& context, const Tensor& channels) const;

  EspcnConfig config_;
  std::vector<Conv2d> convs_;
};

// How far, to each side and in pixels of the input, the network looks around a pixel that it makes.
int64_t reach_of(const EspcnConfig& config);

}  // namespace dreamlab
