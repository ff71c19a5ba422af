#include "worker/device_choice.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "worker/worker_factory.h"
#include "worker/worker_options.h"

namespace dreamlab {

DeviceChoice device_choice(const Config& config, const std::optional<std::string>& device,
                           const std::optional<std::string>& dtype, int threads) {
  constexpr std::array<std::string_view, 4> kDtypes = {"auto", "bf16", "fp16", "fp32"};
  if (dtype && std::find(kDtypes.begin(), kDtypes.end(), *dtype) == kDtypes.end())
    fail(ErrorKind::invalid_argument, "--dtype {}: not allowed; auto, bf16, fp16, fp32 is", *dtype);
  DeviceChoice choice{.threads = threads, .cuda = cuda_options(config)};
  WorkerOptions worker;
  worker.backend = *config.text("BACKEND");
  if (worker.backend == "rknn") worker.backend = "cpu";  // an NPU runs what was compiled for it, and nothing else
  choice.device = device ? *device : resolve_backend(worker);
  const bool gpu = choice.device == "cuda" || choice.device.starts_with("cuda:");
  if (!gpu && choice.device != "cpu" && choice.device != "reference")
    fail(ErrorKind::invalid_argument, "--device {}: not allowed; cpu, cuda, cuda:N, reference is", choice.device);
  if (gpu && parse_cuda_devices(choice.device).size() != 1)
    fail(ErrorKind::invalid_argument, "--device {}: one device is needed", choice.device);
  choice.dtype = dtype ? *dtype : gpu ? "auto" : *config.text("CPU_DTYPE");
  return choice;
}

NpuUpscalerOptions npu_upscaler_options(const Config& config) {
  return {.library = *config.text("RKNN_LIBRARY"),
          .input_side = config.integer("SR_INPUT_SIZE").value_or(0),
          .output_side = config.integer("SR_OUTPUT_SIZE").value_or(0)};
}

}  // namespace dreamlab
