#pragma once

#include <memory>
#include <string>

#include "device/cuda_backend.h"
#include "device/device.h"

namespace dreamlab {

struct DeviceChoice {
  // "cpu"; "cuda", or "cuda:N" for that GPU; "auto" for a GPU where there is one, else the CPU; "reference" for the
  // plain implementation that judges the others.
  std::string device = "cpu";
  // "auto", "fp32", "bf16" or "fp16". auto: on the CPU bf16 where the processor multiplies it, else fp32; on a GPU what
  // `cuda` says.
  std::string dtype = "auto";
  int threads = 0;          // of the CPU; 0: one per processor
  size_t memory_limit = 0;  // bytes that activations may take on the CPU; 0: what there is
  CudaOptions cuda = {};
};

// Throws Error: invalid_argument, with what is allowed; unavailable where there is no such device.
std::unique_ptr<Device> make_device(const DeviceChoice& choice);

}  // namespace dreamlab
