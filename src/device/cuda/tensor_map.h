#pragma once

// Tensors described to Hopper's copy engine.
#include <cuda.h>

#include <array>
#include <cstdint>

#include "tensor/dtype.h"

namespace dreamlab::cuda {

// Of a tensor of a 2-byte dtype and four dimensions, innermost first: strides, in elements, of the last three; box, of
// elements copied at a time, whose rows of 128 bytes are swizzled; step, from one of them to the next in the middle two
// dimensions. What is outside of the tensor reads as zero. Throws Error(unsupported) where the driver has no such
// thing.
CUtensorMap tensor_map(DType dtype, const void* data, std::array<int64_t, 4> dims, std::array<int64_t, 3> strides,
                       std::array<int, 4> box, int step);

}  // namespace dreamlab::cuda
