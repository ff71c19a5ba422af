#pragma once

#include <memory>

#include "device/device.h"

namespace dreamlab {

// Every operation of Device in its plainest form: f32 tensors, sums in double, one thread, no tiling, no library. It is
// the judge of the fast devices and fit for small models only.
std::unique_ptr<Device> make_reference_device();

}  // namespace dreamlab
