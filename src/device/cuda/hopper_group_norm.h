#pragma once

// Group normalization in one pass over memory, by clusters of blocks that hold their pixels in shared memory (compute
// capability 9.0).
#include <cuda_runtime_api.h>

#include <cstdint>

#include "device/cuda/kernels.h"

namespace dreamlab::cuda {

// Whether an image's pixels fit: 2-byte types, whole vectors of channels, groups of four or at least eight.
bool hopper_supports_group_norm(const NormArgs& args, int64_t groups);
// activation: none or silu.
void hopper_group_norm(const NormArgs& args, int64_t groups, Activation activation, cudaStream_t stream);

}  // namespace dreamlab::cuda
