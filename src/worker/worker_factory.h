#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "worker/pipeline_worker.h"
#include "worker/worker_options.h"

namespace dreamlab {

// The backend that options.backend means on this machine: "cuda", "rknn" or "cpu". A model that was compiled for an NPU
// runs on that alone; auto looks at the model. Throws Error: unavailable, with the reason, for one that is not there;
// invalid_argument for one that does not exist.
std::string_view resolve_backend(const WorkerOptions& options);

// The worker for a model, by backend, USE_SDXL and what the checkpoint is. Loads the model. Throws Error, one line:
// unavailable (no such file, a backend that is not there), invalid_file (damaged, another kind of file, or SDXL where
// it must not be and the reverse), invalid_argument (a default out of range).
std::shared_ptr<PipelineWorker> make_worker(const WorkerOptions& options);

}  // namespace dreamlab
