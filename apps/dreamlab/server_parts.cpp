#include "dreamlab/server_parts.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/split_list.h"
#include "base/version.h"
#include "server/access.h"
#include "service/job_registry.h"
#include "weights/checkpoint.h"
#include "worker/device_choice.h"
#include "worker/model_location.h"
#include "worker/rknn_model_set.h"
#include "worker/worker_factory.h"

namespace dreamlab {

namespace {

namespace fs = std::filesystem;

constexpr const char* kModesFile = "modes.yaml";
constexpr size_t kBlockingThreads = 2;
constexpr const char* kHowToNameAModel =
    "name a checkpoint file or a diffusers directory in MODEL, or by --model, and start again";

// What the environment says of every model, and in its place what the mode says of its own.
WorkerOptions options_of(const Mode& mode, WorkerOptions options) {
  options.model = mode.model;
  if (!mode.styles.empty()) options.styles = mode.styles;
  if (mode.size) options.size = mode.size;
  if (mode.steps) options.steps = *mode.steps;
  if (mode.guidance) options.guidance = *mode.guidance;
  if (!mode.scheduler.empty()) options.scheduler = mode.scheduler;
  return options;
}

std::shared_ptr<ModeRegistry> find_modes(const Config& config, const WorkerOptions& options) {
  const fs::path path = config.text("MODES").value_or(kModesFile);
  std::error_code error;
  if (config.is_set("MODES") || fs::exists(path, error)) {
    return ModeRegistry::from_file(path, config.text("MODEL_ROOT").value_or(""), lora_root(config));
  }
  Mode mode;
  mode.model = options.model;
  if (mode.model.empty()) mode.model = shipped_model(options.sdxl).value_or("");
  return ModeRegistry::single(std::move(mode));
}

// Loading takes a while; whether the file is what it should be shows at once, from its header.
void check_model(const Mode& mode, const WorkerOptions& options) {
  if (mode.model.empty()) return;
  if (is_rknn_model(mode.model)) {
    find_rknn_models(mode.model);
    return;
  }
  const std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(mode.model);
  if (options.sdxl) check_family(mode.model, checkpoint->config(), *options.sdxl);
}

// NUM_WORKERS, or as many as make sense: more would share a processor of their own kind, and slow each other down.
int worker_count(const Config& config, std::string_view backend, size_t gpus) {
  const auto wanted = static_cast<int>(*config.integer("NUM_WORKERS"));
  if (backend == "cpu") return wanted;
  const int most = backend == "cuda" ? static_cast<int>(gpus) : RknnOptions::kCores;
  if (backend == "cuda" && !config.is_set("NUM_WORKERS")) return most;
  if (wanted > most)
    log::warn("NUM_WORKERS={}: {} of them here, one for each {}", wanted, most,
              backend == "cuda" ? "GPU that CUDA_DEVICE names" : "core of the NPU");
  return std::min(wanted, most);
}

std::shared_ptr<PipelineService> make_service(const Config& config, ModelSlot slot,
                                              const std::shared_ptr<ModeRegistry>& modes, const WorkerOptions& worker) {
  ServiceOptions service;
  service.name = slot == ModelSlot::sdxl || worker.sdxl.value_or(false) ? "SDXL" : "SD";
  service.queue_max = static_cast<size_t>(*config.integer("QUEUE_MAX"));
  const std::string_view backend = resolve_backend(worker);
  const std::vector<int> gpus = backend == "cuda" ? cuda_devices(config) : std::vector<int>{};
  service.workers = worker_count(config, backend, gpus.size());
  service.batch_max = static_cast<int>(config.integer("BATCH_MAX").value_or(0));
  service.timeout_s = *config.number("DEFAULT_TIMEOUT");
  if (!gpus.empty()) service.available_bytes = [gpu = gpus.front()] { return free_cuda_memory(gpu); };
  service.stop = std::make_shared<CancelToken>();
  auto factory = [worker, gpus, workers = service.workers, stop = service.stop](const Mode& mode, int index) {
    if (mode.model.empty()) fail(ErrorKind::unavailable, "{}", kHowToNameAModel);
    WorkerOptions options = options_of(mode, worker);
    options.cancel = stop.get();
    if (!gpus.empty()) options.cuda.device = gpus[static_cast<size_t>(index) % gpus.size()];
    options.rknn.worker = index % RknnOptions::kCores;
    options.rknn.workers = std::min(workers, RknnOptions::kCores);
    return make_worker(options);
  };
  return std::make_shared<PipelineService>(std::move(service), modes, factory);
}

// The model beside SD that /generate_sdxl works with.
std::shared_ptr<PipelineService> make_sdxl_service(const Config& config) {
  const WorkerOptions worker = worker_options(config, ModelSlot::sdxl);
  if (worker.model.empty()) {
    fail(ErrorKind::invalid_argument,
         "SDXL_ENABLED=1: no model; name an SDXL checkpoint file or diffusers directory in SDXL_MODEL");
  }
  Mode mode;
  mode.model = worker.model;
  check_model(mode, worker);
  return make_service(config, ModelSlot::sdxl, ModeRegistry::single(mode), worker);
}

std::shared_ptr<SuperResolutionService> make_super_resolution(const Config& config) {
  SuperResolutionOptions options;
  options.model_path = locate_upscaler(config.text("SR_MODEL_PATH"));
  options.workers = static_cast<int>(*config.integer("SR_NUM_WORKERS"));
  options.queue_max = static_cast<size_t>(*config.integer("SR_QUEUE_MAX"));
  options.timeout_s = *config.number("SR_REQUEST_TIMEOUT");
  options.max_pixels = *config.integer("SR_MAX_PIXELS");
  const int threads = static_cast<int>(config.integer("THREADS").value_or(0));
  options.device = device_choice(config, std::nullopt, std::nullopt, threads);
  options.npu = npu_upscaler_options(config);
  return std::make_shared<SuperResolutionService>(options);
}

std::shared_ptr<Storage> make_storage(const Config& config) {
  StorageOptions options;
  options.ttl_s = *config.number("STORAGE_TTL");
  options.max_bytes = static_cast<uint64_t>(*config.integer("STORAGE_MAX_MB")) << 20;
  return open_storage(*config.text("STORAGE"), options);
}

}  // namespace

std::shared_ptr<ServerContext> make_server_context(const Config& config) {
  auto context = std::make_shared<ServerContext>(ServerContext{.config = config, .version = std::string(version())});
  context->jobs = std::make_shared<JobRegistry>();
  context->blocking = std::make_shared<boost::asio::thread_pool>(kBlockingThreads);
  context->storage = make_storage(config);

  WorkerOptions worker = worker_options(config);
  context->modes = find_modes(config, worker);
  const Mode first = context->modes->find(context->modes->default_mode()).value();
  check_model(first, worker);
  worker.model = first.model;
  const bool shipped = !first.model.empty() && first.model == shipped_model(worker.sdxl);
  if (shipped && worker.styles.empty() && !config.is_set("STYLES")) worker.styles = shipped_styles();
  if (*config.boolean("SR_ENABLED")) context->super_resolution = make_super_resolution(config);
  if (*config.boolean("SDXL_ENABLED")) context->sdxl = make_sdxl_service(config);
  context->sd = make_service(config, ModelSlot::main, context->modes, worker);
  if (shipped) log::info("{}", kShippedModelNotice);
  const bool may_use_gpu = worker.backend == "auto" && !is_rknn_model(worker.model);
  if (const auto why = may_use_gpu ? why_no_cuda_device() : std::nullopt) log::info("{}; the CPU computes", *why);
  return context;
}

ServerOptions server_options(const Config& config) {
  ServerOptions options;
  options.host = *config.text("HOST");
  options.port = static_cast<int>(*config.integer("PORT"));
  options.tls_cert = config.text("TLS_CERT").value_or("");
  options.tls_key = config.text("TLS_KEY").value_or("");
  options.api_key = config.text("API_KEY").value_or("");
  options.cors_origins = split_list(config.text("CORS_ORIGINS").value_or(""));
  options.name = fmt::format("dreamlab/{}", version());
  return options;
}

std::vector<std::shared_ptr<PipelineService>> pipeline_services(const ServerContext& context) {
  std::vector<std::shared_ptr<PipelineService>> services{context.sd};
  if (context.sdxl) services.push_back(context.sdxl);
  return services;
}

}  // namespace dreamlab
