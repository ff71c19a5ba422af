#pragma once

#include <cstddef>
#include <memory>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace dreamlab {

// A tensor in a device's memory: dense, row-major, channels last ([N, H, W, C] or [N, T, C]). Copies share the memory,
// which returns to the device's pool when the last of them goes. A column view (see columns()) is dense but for its row
// stride.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<void> memory, void* data, Shape shape, DType dtype)
      : memory_(std::move(memory)),
        data_(data),
        shape_(shape),
        dtype_(dtype),
        row_stride_(shape.rank() ? shape[-1] : 1) {}

  bool defined() const noexcept { return data_ != nullptr; }
  const Shape& shape() const noexcept { return shape_; }
  // Extent of one dimension; negative indices count from the end.
  int64_t dim(int index) const noexcept { return shape_[index]; }
  int64_t channels() const noexcept { return shape_[-1]; }
  // Product of all dimensions but the last: pixels or tokens of the whole batch.
  int64_t rows() const noexcept { return shape_[-1] == 0 ? 0 : shape_.elements() / shape_[-1]; }
  int64_t elements() const noexcept { return shape_.elements(); }
  DType dtype() const noexcept { return dtype_; }
  // Elements from one row to the next; larger than channels() only for a column view.
  int64_t row_stride() const noexcept { return row_stride_; }
  bool contiguous() const noexcept { return row_stride_ == shape_[-1]; }

  // Whether no copy and no view of it is held.
  bool unique() const noexcept { return memory_.use_count() == 1; }

  void* data() const noexcept { return data_; }
  template <typename T>
  T* as() const noexcept {
    return static_cast<T*>(data_);
  }

  // The same memory under another shape of as many elements. The tensor must be contiguous.
  Tensor reshape(Shape shape) const;
  // Images [begin, end) of the batch, without a copy.
  Tensor images(int64_t begin, int64_t end) const;
  // Channels [begin, end) of every row, without a copy. Only operations that say so accept such a view (attention
  // does).
  Tensor columns(int64_t begin, int64_t end) const;

 private:
  std::shared_ptr<void> memory_;
  void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::f32;
  int64_t row_stride_ = 0;
};

}  // namespace dreamlab
