#include "tensor/host_tensor.h"

#include <cstring>

#include "base/error.h"

namespace dreamlab {

std::vector<float> HostTensor::to_f32() const {
  std::vector<float> out(static_cast<size_t>(shape.elements()));
  convert_elements(data, dtype, out.data(), DType::f32, out.size());
  return out;
}

HostTensor HostTensor::reshape(Shape new_shape) const {
  if (new_shape.elements() != shape.elements())
    fail(ErrorKind::internal, "cannot view {} as {}", shape.to_string(), new_shape.to_string());
  HostTensor out = *this;
  out.shape = new_shape;
  return out;
}

HostTensor HostTensor::rows(int64_t begin, int64_t end) const {
  if (shape.rank() == 0 || begin < 0 || begin > end || end > shape[0])
    fail(ErrorKind::internal, "rows {} to {} of {}", begin, end, shape.to_string());
  HostTensor out = *this;
  const int64_t row = shape[0] == 0 ? 0 : shape.elements() / shape[0];
  out.data = data + static_cast<size_t>(begin * row) * size_of(dtype);
  out.shape.set(0, end - begin);
  return out;
}

HostTensor HostTensor::transposed() const {
  if (shape.rank() != 2) fail(ErrorKind::internal, "transposing {}", shape.to_string());
  const int64_t rows = shape[0], columns = shape[1];
  const size_t size = size_of(dtype);
  auto bytes_copy = std::make_shared<std::vector<std::byte>>(bytes());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(bytes_copy->data() + static_cast<size_t>(c * rows + r) * size,
                  data + static_cast<size_t>(r * columns + c) * size, size);
  return {bytes_copy->data(), dtype, Shape{columns, rows}, bytes_copy};
}

HostTensor HostTensor::from_f32(std::vector<float>&& values, Shape shape) {
  if (shape.elements() != static_cast<int64_t>(values.size()))
    fail(ErrorKind::internal, "{} values for a tensor of shape {}", values.size(), shape.to_string());
  auto storage = std::make_shared<std::vector<float>>(std::move(values));
  return {reinterpret_cast<const std::byte*>(storage->data()), DType::f32, shape, storage};
}

HostTensor HostTensor::from_f32(std::span<const float> values, Shape shape) {
  return from_f32(std::vector<float>(values.begin(), values.end()), shape);
}

}  // namespace dreamlab
