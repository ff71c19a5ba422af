#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "base/config.h"
#include "base/picture_size.h"
#include "device/cuda_backend.h"
#include "pipeline/request.h"
#include "scheduler/random.h"
#include "worker/model_location.h"
#include "worker/styles.h"

namespace dreamlab {

struct RknnOptions {
  static constexpr int kCores = 3;  // of the NPU, and workers that make sense

  std::string library = "librknnrt.so";  // the runtime
  bool own_cores = true;                 // a core for each worker; else as the runtime likes
  int worker = 0, workers = 1;           // which of how many, at most kCores
};

// All that a worker is made from. worker_options() fills it in from the environment; a mode replaces what it has a word
// on: model, styles, size, steps, guidance, scheduler.
struct WorkerOptions {
  std::filesystem::path model;  // file or directory; "" is refused when the worker is made
  std::optional<bool> sdxl;     // whether it must be SDXL (USE_SDXL); unset: as detected
  std::vector<StyleEntry> styles;

  std::string backend = "auto";  // auto, cuda, cpu, rknn
  std::string dtype = "auto";    // of the CPU device: auto, bf16, fp32
  int threads = 0;               // of the CPU device; 0: one per processor
  size_t memory_limit = 0;       // bytes that activations may take on the CPU device; 0: what there is
  CudaOptions cuda;              // of the CUDA device
  RknnOptions rknn;              // of the NPU

  std::optional<PictureSize> size;  // unset: the model's native size
  int steps = 4;
  double guidance = 1.0;
  std::string scheduler = "lcm";
  NoiseKind noise = NoiseKind::cuda;
  TilingMode vae_tiling = TilingMode::automatic;

  const CancelToken* cancel = nullptr;  // looked at while the model loads
};

// From the environment: model, device, defaults, and the styles of STYLES (styles.yaml where it is there). The
// processors are divided among NUM_WORKERS. Throws Error where a value or the styles file is wrong.
WorkerOptions worker_options(const Config& config, ModelSlot slot = ModelSlot::main);

// The GPUs that CUDA_DEVICE names; and what the environment says of the first. Throw Error.
std::vector<int> cuda_devices(const Config& config);
CudaOptions cuda_options(const Config& config);

// LORA_ROOT, else MODEL_ROOT (for the SDXL slot SDXL_MODEL_ROOT), else the current directory.
std::filesystem::path lora_root(const Config& config, ModelSlot slot = ModelSlot::main);

}  // namespace dreamlab
