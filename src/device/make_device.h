#pragma once

#include <memory>
#include <string>

#include "device/device.h"

namespace dreamlab {

// The device that goes by a name: "cpu", or "reference" for the plain implementation that judges the others. dtype:
// "auto", "fp32" or "bf16". threads: 0 for one per processor. Throws Error(invalid_argument) that lists what is
// allowed.
std::unique_ptr<Device> make_device(const std::string& device, const std::string& dtype, int threads);

}  // namespace dreamlab
