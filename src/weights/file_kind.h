#pragma once

#include <string>

#include "weights/inspect.h"
#include "weights/tensor_file.h"

namespace dreamlab {

// What a file is, by the names of its tensors.
FileKind kind_of(const TensorFile& file);
// For messages: "a LoRA", "an upscaler (RRDBNet)", "of no network known here".
std::string described(FileKind kind);

}  // namespace dreamlab
