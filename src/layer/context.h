#pragma once

#include <functional>
#include <string_view>

#include "base/cancel.h"
#include "device/device.h"

namespace dreamlab {

class LoraSet;

// What one forward pass carries through the layers besides its tensors.
struct Context {
  Device& device;
  const LoraSet* loras = nullptr;       // low-rank adapters in effect
  const CancelToken* cancel = nullptr;  // checked between blocks
  // Sees intermediate results under their module path ("down_blocks.0"); for verification.
  std::function<void(std::string_view path, const Tensor&)> tap = {};

  void check_cancelled() const {
    if (cancel != nullptr) cancel->throw_if_cancelled();
  }
};

}  // namespace dreamlab
