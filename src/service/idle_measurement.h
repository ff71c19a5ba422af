#pragma once

// What a batch costs, measured while there is nothing else to do after a model was loaded.
#include "base/cancel.h"
#include "service/model_slots.h"

namespace dreamlab {

// Whether there is more to learn about calls at the model's default size, and time left for it.
bool can_measure_more(const LoadedModel& model);
// Makes calls as jobs of that size would, until the tuner has learned what it can from so many jobs or the time is used
// up. Ends early when the token is raised; does not throw.
void measure_batch(LoadedModel& model, const CancelToken& cancel) noexcept;

}  // namespace dreamlab
