#include "worker/worker_factory.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "weights/checkpoint.h"
#include "worker/diffusion_worker.h"

namespace dreamlab {
namespace {

struct Backend {
  std::string_view name;
  bool built_in;
};
// In the order in which auto looks for one.
constexpr std::array<Backend, 3> kBackends{{{"cuda", false}, {"rknn", false}, {"cpu", true}}};

// The backend that options.backend means here.
std::string_view chosen_backend(const std::string& name) {
  const bool any = name == "auto";
  const auto found = std::find_if(kBackends.begin(), kBackends.end(), [&](const Backend& backend) {
    return any ? backend.built_in : backend.name == name;
  });
  if (found == kBackends.end())
    fail(ErrorKind::invalid_argument, "BACKEND={}: not allowed; auto, cuda, cpu, rknn is", name);
  if (!found->built_in)
    fail(ErrorKind::unavailable, "BACKEND={}: this program was built without it; cpu and auto work", name);
  return found->name;
}

}  // namespace

std::shared_ptr<PipelineWorker> make_worker(const WorkerOptions& options) {
  WorkerOptions resolved = options;
  resolved.backend = chosen_backend(options.backend);
  if (options.model.empty())
    fail(ErrorKind::unavailable, "no model: name a checkpoint file or a diffusers directory in MODEL");
  std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(options.model);
  if (options.sdxl.value_or(checkpoint->config().is_sdxl()))
    return std::make_shared<SdxlWorker>(resolved, std::move(checkpoint));
  return std::make_shared<SdWorker>(resolved, std::move(checkpoint));
}

}  // namespace dreamlab
