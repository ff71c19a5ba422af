#include "worker/worker_factory.h"

#include <array>
#include <optional>

#include "base/error.h"
#include "device/cuda_backend.h"
#include "device/rknn/rknn_runtime.h"
#include "weights/checkpoint.h"
#include "worker/diffusion_worker.h"
#include "worker/rknn_model_set.h"
#include "worker/rknn_worker.h"

namespace dreamlab {
namespace {

struct Backend {
  std::string_view name;
  std::optional<std::string> (*why_not)(const WorkerOptions& options);  // nullopt: it works here
};
// In the order in which auto looks for one.
constexpr std::array<Backend, 3> kBackends{{
    {"cuda", [](const WorkerOptions&) { return why_no_cuda_device(); }},
    {"rknn", [](const WorkerOptions& options) { return rknn::why_no_rknn_device(options.rknn.library); }},
    {"cpu", [](const WorkerOptions&) { return std::optional<std::string>(); }},
}};

}  // namespace

std::string_view resolve_backend(const WorkerOptions& options) {
  const bool compiled = is_rknn_model(options.model);
  for (const Backend& backend : kBackends) {
    if (options.backend == "auto" ? compiled != (backend.name == "rknn") : options.backend != backend.name) continue;
    const std::optional<std::string> why_not = backend.why_not(options);
    if (!why_not) return backend.name;
    if (options.backend != "auto" || compiled)
      fail(ErrorKind::unavailable, "BACKEND={}: {}; {}", options.backend, *why_not,
           compiled ? "a model that was compiled for an NPU needs one" : "cpu and auto work");
  }
  fail(ErrorKind::invalid_argument, "BACKEND={}: not allowed; auto, cuda, cpu, rknn is", options.backend);
}

std::shared_ptr<PipelineWorker> make_worker(const WorkerOptions& options) {
  WorkerOptions resolved = options;
  resolved.backend = resolve_backend(options);
  if (options.model.empty())
    fail(ErrorKind::unavailable, "no model: name a checkpoint file or a diffusers directory in MODEL");
  if (resolved.backend == "rknn") return std::make_shared<RknnWorker>(resolved);
  std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(options.model);
  if (options.sdxl.value_or(checkpoint->config().is_sdxl()))
    return std::make_shared<SdxlWorker>(resolved, std::move(checkpoint));
  return std::make_shared<SdWorker>(resolved, std::move(checkpoint));
}

}  // namespace dreamlab
