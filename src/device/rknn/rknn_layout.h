#pragma once

// The ways between values with channels last in f32 and what a port of a model wants.
#include <cstdint>
#include <span>
#include <vector>

#include "device/rknn/rknn_api.h"

namespace dreamlab::rknn {

// Bytes of an element.
size_t size_of(TensorType type);

// Bytes of a port's memory: strides included.
size_t memory_size(const TensorAttributes& attributes);

// values: all elements of the port, a picture's with channels last. bytes: memory_size() of them. Rows of a picture
// with channels last begin at every width_stride-th pixel.
void write_values(const TensorAttributes& attributes, std::span<const float> values, void* bytes);
std::vector<float> read_values(const TensorAttributes& attributes, const void* bytes);

}  // namespace dreamlab::rknn
