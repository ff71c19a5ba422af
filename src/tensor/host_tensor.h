#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace dreamlab {

// A dense row-major tensor in host memory, usually a view of a memory-mapped checkpoint. Copies share the bytes.
struct HostTensor {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  std::shared_ptr<const void> owner;  // keeps `data` alive

  size_t bytes() const { return static_cast<size_t>(shape.elements()) * size_of(dtype); }

  // The elements as f32, whatever the dtype (floating-point only).
  std::vector<float> to_f32() const;
  // The same bytes under another shape of as many elements.
  HostTensor reshape(Shape new_shape) const;
  // Rows [begin, end) of the outermost dimension, without a copy.
  HostTensor rows(int64_t begin, int64_t end) const;
  // A new [columns, rows] tensor from a [rows, columns] one.
  HostTensor transposed() const;

  // A tensor of its own f32 memory.
  static HostTensor from_f32(std::span<const float> values, Shape shape);
  static HostTensor from_f32(std::vector<float>&& values, Shape shape);
};

}  // namespace dreamlab
