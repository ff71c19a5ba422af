#include "weights/tensor_map.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "weights/printable.h"
#include "weights/tensor_file.h"

namespace dreamlab {

void TensorMap::add(std::string name, HostTensor tensor, std::string stored_name) {
  const auto [place, fresh] = entries_.try_emplace(std::move(name));
  if (!fresh)
    fail(ErrorKind::invalid_file, "{}: both {} and {} are {}", label_, printable(place->second.stored_name),
         printable(stored_name), printable(place->first));
  place->second = {std::move(tensor), std::move(stored_name)};
}

HostTensor TensorMap::get(std::string_view name, const Shape& shape) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    fail(ErrorKind::invalid_file, "{}: tensor {} of shape {} is missing", label_, name, shape.to_string());
  const HostTensor& tensor = found->second.tensor;
  if (!shapes_agree(tensor.shape, shape))
    fail(ErrorKind::invalid_file, "{}: tensor {} has shape {}; {} is expected for {}", label_,
         printable(found->second.stored_name), tensor.shape.to_string(), shape.to_string(), name);
  if (!is_floating_point(tensor.dtype))
    fail(ErrorKind::invalid_file, "{}: tensor {} is of {}; a floating-point dtype is expected", label_,
         printable(found->second.stored_name), name_of(tensor.dtype));
  HostTensor out = aligned(tensor).reshape(shape);
  if (out.data == tensor.data) out.owner = MappedFile::dropping_pages(out.owner, out.data, out.bytes());
  return out;
}

std::optional<Shape> TensorMap::shape_of(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  return found->second.tensor.shape;
}

bool shapes_agree(const Shape& stored, const Shape& wanted) {
  const auto next = [](const Shape& shape, int& i) {
    while (i < shape.rank() && shape[i] == 1) ++i;
    return i < shape.rank() ? shape[i++] : int64_t{1};
  };
  for (int a = 0, b = 0; a < stored.rank() || b < wanted.rank();)
    if (next(stored, a) != next(wanted, b)) return false;
  return true;
}

}  // namespace dreamlab
