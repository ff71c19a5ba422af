#include "worker/worker_options.h"

#include <algorithm>
#include <system_error>

#include "base/error.h"
#include "base/thread_pool.h"
#include "scheduler/sampler.h"

namespace dreamlab {

namespace fs = std::filesystem;

namespace {

constexpr const char* kStylesFile = "styles.yaml";

int threads_of_a_worker(const Config& config) {
  const auto threads = config.integer("THREADS").value_or(available_processors());
  return static_cast<int>(std::max<int64_t>(1, threads / config.integer("NUM_WORKERS").value_or(1)));
}

std::string checked_scheduler(const Config& config) {
  const std::string name = *config.text("SCHEDULER");
  try {
    return std::string(find_sampler(name).name);
  } catch (const Error& error) {
    fail(error.kind(), "SCHEDULER={}: {}", name, error.what());
  }
}

std::vector<StyleEntry> styles_of(const Config& config, ModelSlot slot) {
  const fs::path path = config.text("STYLES").value_or(kStylesFile);
  std::error_code error;
  if (!config.is_set("STYLES") && !fs::exists(path, error)) return {};
  return read_styles(path, lora_root(config, slot));
}

}  // namespace

std::vector<int> cuda_devices(const Config& config) {
  try {
    return parse_cuda_devices(*config.text("CUDA_DEVICE"));
  } catch (const Error& error) {
    fail(error.kind(), "CUDA_DEVICE={}: {}", *config.text("CUDA_DEVICE"), error.what());
  }
}

CudaOptions cuda_options(const Config& config) {
  CudaOptions options;
  options.device = cuda_devices(config).front();
  const std::string dtype = *config.text("CUDA_DTYPE");
  options.dtype = dtype == "fp32" ? DType::f32 : dtype == "bf16" ? DType::bf16 : DType::f16;
  options.flash_attention = *config.boolean("CUDA_ENABLE_XFORMERS");
  options.slice_attention = *config.boolean("CUDA_ATTENTION_SLICING");
  const std::string offload = *config.text("OFFLOAD");
  options.offload = offload == "stream" ? Offload::stream : offload == "model" ? Offload::model : Offload::none;
  options.memory_limit = static_cast<size_t>(*config.integer("VRAM_MAX")) << 20;
  return options;
}

fs::path lora_root(const Config& config, ModelSlot slot) {
  const bool sdxl = slot == ModelSlot::sdxl || config.boolean("USE_SDXL").value_or(false);
  if (const auto root = config.text("LORA_ROOT")) return *root;
  if (const auto root = config.text("SDXL_MODEL_ROOT"); sdxl && root) return *root;
  return config.text("MODEL_ROOT").value_or("");
}

WorkerOptions worker_options(const Config& config, ModelSlot slot) {
  WorkerOptions options;
  options.model = locate_model(config, slot).value_or("");
  options.sdxl = slot == ModelSlot::sdxl ? std::optional(true) : config.boolean("USE_SDXL");
  options.styles = styles_of(config, slot);
  options.backend = *config.text("BACKEND");
  options.dtype = *config.text("CPU_DTYPE");
  options.threads = threads_of_a_worker(config);
  options.cuda = cuda_options(config);
  options.rknn.library = *config.text("RKNN_LIBRARY");
  options.rknn.own_cores = *config.boolean("USE_RKNN_CONTEXT_CFGS");
  options.size = config.size("DEFAULT_SIZE");
  options.steps = static_cast<int>(*config.integer("DEFAULT_STEPS"));
  options.guidance = *config.number("DEFAULT_GUIDANCE");
  options.scheduler = checked_scheduler(config);
  options.noise = noise_kind_from_name(*config.text("RNG"));
  options.vae_tiling = tiling_mode_from_name(*config.text("VAE_TILING"));
  return options;
}

}  // namespace dreamlab
