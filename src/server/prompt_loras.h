#pragma once

#include "worker/pipeline_worker.h"

namespace dreamlab {

// Takes <lora:ID:STRENGTH> out of the prompt and makes it the request's style, at the level whose strength is nearest;
// without a strength 1. Throws RequestError (422) for more than one and for one that the worker does not have.
void take_prompt_loras(JobRequest& request, const WorkerInfo& worker);

}  // namespace dreamlab
