#pragma once

#include <memory>

#include "device/cuda_backend.h"

namespace dreamlab::cuda {

// Throws Error: unavailable where there is no such device.
std::unique_ptr<Device> make_device(const CudaOptions& options);

}  // namespace dreamlab::cuda
