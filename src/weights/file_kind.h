#pragma once

#include "weights/inspect.h"
#include "weights/tensor_file.h"

namespace dreamlab {

// What a file is, by the names of its tensors.
FileKind kind_of(const TensorFile& file);

}  // namespace dreamlab
