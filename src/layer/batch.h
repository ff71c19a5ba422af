#pragma once

#include <span>

#include "device/device.h"

namespace dreamlab {

// One batch of several: [N1, ..] and [N2, ..] to [N1 + N2, ..]. All but the first dimension must agree.
Tensor join_images(Device& device, std::span<const Tensor> parts);

}  // namespace dreamlab
