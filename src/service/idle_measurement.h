#pragma once

// What a batch costs, measured while there is nothing else to do after a model was loaded.
#include "base/cancel.h"
#include "service/model_slots.h"

namespace dreamlab {

// Whether a further count of rows is worth measuring and will be done within the time that is left for it.
bool can_measure_more(const LoadedModel& model);
// Measures the next count of rows, at the model's default size, and hands it to the tuner. Ends early when the token is
// raised; does not throw.
void measure_batch(LoadedModel& model, const CancelToken& cancel) noexcept;

}  // namespace dreamlab
