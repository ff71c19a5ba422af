#include "worker/worker_factory.h"

#include <array>
#include <optional>

#include "base/error.h"
#include "device/cuda_backend.h"
#include "weights/checkpoint.h"
#include "worker/diffusion_worker.h"

namespace dreamlab {
namespace {

std::optional<std::string> nothing_missing() {
  return std::nullopt;
}
std::optional<std::string> why_no_rknn_device() {
  return "this program was built without it";
}

struct Backend {
  std::string_view name;
  std::optional<std::string> (*why_not)();  // nullopt: it works here
};
// In the order in which auto looks for one.
constexpr std::array<Backend, 3> kBackends{
    {{"cuda", why_no_cuda_device}, {"rknn", why_no_rknn_device}, {"cpu", nothing_missing}}};

}  // namespace

std::string_view resolve_backend(const std::string& name) {
  for (const Backend& backend : kBackends) {
    if (name != "auto" && name != backend.name) continue;
    const std::optional<std::string> why_not = backend.why_not();
    if (!why_not) return backend.name;
    if (name != "auto") fail(ErrorKind::unavailable, "BACKEND={}: {}; cpu and auto work", name, *why_not);
  }
  fail(ErrorKind::invalid_argument, "BACKEND={}: not allowed; auto, cuda, cpu, rknn is", name);
}

std::shared_ptr<PipelineWorker> make_worker(const WorkerOptions& options) {
  WorkerOptions resolved = options;
  resolved.backend = resolve_backend(options.backend);
  if (options.model.empty())
    fail(ErrorKind::unavailable, "no model: name a checkpoint file or a diffusers directory in MODEL");
  std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(options.model);
  if (options.sdxl.value_or(checkpoint->config().is_sdxl()))
    return std::make_shared<SdxlWorker>(resolved, std::move(checkpoint));
  return std::make_shared<SdWorker>(resolved, std::move(checkpoint));
}

}  // namespace dreamlab
