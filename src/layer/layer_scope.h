#pragma once

#include <string>
#include <string_view>

#include "device/device.h"
#include "weights/weight_source.h"

namespace dreamlab {

// Where a layer is built: the device that packs its weights, the place of those weights in the network, and the
// network's own name ("unet", "text_encoder_2"), which stands before module paths where low-rank adapters are looked
// up.
struct LayerScope {
  Device& device;
  WeightScope weights;
  std::string network;

  LayerScope operator/(std::string_view child) const { return {device, weights / child, network}; }
  LayerScope operator/(int64_t index) const { return {device, weights / index, network}; }
  // "unet.down_blocks.0.resnets.0.conv1"
  std::string name() const { return network + "." + weights.path(); }
};

// Whether a matrix product or convolution has a bias.
enum class Bias { none, present };

}  // namespace dreamlab
