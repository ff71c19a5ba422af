#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pipeline/request.h"

namespace dreamlab {

// The text of a picture's "parameters" chunk, as AUTOMATIC1111's web UI writes and reads it:
//   prompt
//   Negative prompt: ...          (left out where there is none)
//   Steps: 4, Sampler: LCM, CFG scale: 1, Seed: 42, Size: 1024x1024, Model: name, ..., Version: dreamlab 0.1.0
// model_name is the file's name without its extension. more: further names and values, before the version.
std::string parameters_text(const GenerationRequest& request, const std::string& model_name, const std::string& version,
                            const std::vector<std::pair<std::string, std::string>>& more = {});

}  // namespace dreamlab
