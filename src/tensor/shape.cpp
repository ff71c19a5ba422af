#include "tensor/shape.h"

#include <algorithm>

#include "base/error.h"

namespace dreamlab {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  if (dims.size() > kMaxRank)
    fail(ErrorKind::unsupported, "a tensor of {} dimensions; {} are allowed", dims.size(), kMaxRank);
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

int64_t Shape::elements() const noexcept {
  int64_t product = 1;
  for (int64_t dim : dims()) product *= dim;
  return product;
}

bool Shape::operator==(const Shape& other) const noexcept {
  return std::ranges::equal(dims(), other.dims());
}

std::string Shape::to_string() const {
  return fmt::format("[{}]", fmt::join(dims(), ", "));
}

}  // namespace dreamlab
