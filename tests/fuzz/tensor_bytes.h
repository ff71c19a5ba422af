#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "weights/tensor_file.h"

namespace dreamlab {

// A copy in memory of exactly that size, so that a sanitizer sees a read one byte past the file.
struct ExactCopy {
  ExactCopy(const uint8_t* data, size_t size) : memory(new std::byte[size]), bytes(memory.get(), size) {
    if (size > 0) std::memcpy(memory.get(), data, size);
  }
  std::shared_ptr<std::byte[]> memory;
  std::span<const std::byte> bytes;
};

// Reads every byte of every tensor, and aborts when a tensor is not what a TensorFile promises.
inline void touch(const TensorFile& file) {
  for (const auto& item : file.tensors()) {
    const HostTensor& tensor = item.second;
    for (const int64_t dim : tensor.shape.dims())
      if (dim < 0) std::abort();
    size_t sum = 0;
    for (size_t i = 0; i < tensor.bytes(); ++i) sum += std::to_integer<size_t>(tensor.data[i]);
    if (sum > 255 * tensor.bytes()) std::abort();  // never; it keeps the reads
    if (is_floating_point(tensor.dtype)) aligned(tensor).to_f32();
  }
}

}  // namespace dreamlab
