#include "worker/pipeline_worker.h"

namespace dreamlab {

JobResult PipelineWorker::run_job(const Job& job) {
  JobResult result = run(job);
  result.latents.reset();
  return result;
}

JobResult PipelineWorker::run_job_with_latents(const Job& job) {
  return run(job);
}

JobResult PipelineWorker::run(const Job& job) {
  const CancelToken& cancel = job.cancel_token();
  const std::unique_ptr<ActiveJob> active = start(job);
  ActiveJob* const jobs[] = {active.get()};
  while (!active->done()) {
    cancel.throw_if_cancelled();
    advance(jobs, &cancel);
  }
  cancel.throw_if_cancelled();
  return finish(*active);
}

}  // namespace dreamlab
