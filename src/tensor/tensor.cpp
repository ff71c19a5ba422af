#include "tensor/tensor.h"

#include "base/error.h"

namespace dreamlab {

Tensor Tensor::reshape(Shape shape) const {
  if (shape.elements() != shape_.elements() || !contiguous())
    fail(ErrorKind::internal, "cannot view {} as {}", shape_.to_string(), shape.to_string());
  return Tensor(memory_, data_, shape, dtype_);
}

Tensor Tensor::images(int64_t begin, int64_t end) const {
  if (begin < 0 || begin > end || end > shape_[0])
    fail(ErrorKind::internal, "images {} to {} of {}", begin, end, shape_.to_string());
  Tensor out = *this;
  const int64_t rows_per_image = shape_[0] == 0 ? 0 : rows() / shape_[0];
  out.data_ =
      static_cast<std::byte*>(data_) + static_cast<size_t>(begin * rows_per_image * row_stride_) * size_of(dtype_);
  out.shape_.set(0, end - begin);
  return out;
}

Tensor Tensor::columns(int64_t begin, int64_t end) const {
  if (begin < 0 || begin > end || end > shape_[-1])
    fail(ErrorKind::internal, "channels {} to {} of {}", begin, end, shape_.to_string());
  Tensor out = *this;
  out.data_ = static_cast<std::byte*>(data_) + static_cast<size_t>(begin) * size_of(dtype_);
  out.shape_.set(-1, end - begin);
  return out;
}

}  // namespace dreamlab
