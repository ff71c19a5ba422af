#pragma once

#include <optional>
#include <string>

#include "base/config.h"
#include "device/make_device.h"
#include "pipeline/upscaler.h"

namespace dreamlab {

// The device of a command: of --device ("cpu", "cuda", "cuda:N", "reference") and --dtype where they are given, else of
// BACKEND and CUDA_DEVICE, and in the precision of CUDA_DTYPE or CPU_DTYPE. Throws Error with the flag or variable that
// is wrong.
DeviceChoice device_choice(const Config& config, const std::optional<std::string>& device,
                           const std::optional<std::string>& dtype, int threads);

// RKNN_LIBRARY, SR_INPUT_SIZE and SR_OUTPUT_SIZE.
NpuUpscalerOptions npu_upscaler_options(const Config& config);

}  // namespace dreamlab
