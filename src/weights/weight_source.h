#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/host_tensor.h"

namespace dreamlab {

// The weights of one network under diffusers' module paths ("down_blocks.0.resnets.1.conv1.weight"), wherever they come
// from: a single file in the original layout, a diffusers directory, or a random generator.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // The tensor `name`, of shape `shape`. A stored shape that differs only in trailing or inner extents of 1 (a 1x1
  // convolution against a matrix) is accepted and reshaped. Throws Error(invalid_file) that names the file, the tensor,
  // what was found and what was expected when it is missing, of another shape or not floating point.
  virtual HostTensor get(std::string_view name, const Shape& shape) const = 0;
  virtual bool contains(std::string_view name) const = 0;
  // The stored shape, where `name` is there.
  virtual std::optional<Shape> shape_of(std::string_view name) const = 0;
};

// A place inside a network: hands out the tensors below one module path.
class WeightScope {
 public:
  explicit WeightScope(const WeightSource& source, std::string path = "") : source_(&source), path_(std::move(path)) {}

  WeightScope operator/(std::string_view child) const { return WeightScope(*source_, full(child)); }
  WeightScope operator/(int64_t index) const { return *this / std::to_string(index); }

  HostTensor get(std::string_view name, const Shape& shape) const { return source_->get(full(name), shape); }
  bool contains(std::string_view name) const { return source_->contains(full(name)); }
  std::optional<Shape> shape_of(std::string_view name) const { return source_->shape_of(full(name)); }
  // The module path, without a trailing dot; "" at the root.
  const std::string& path() const { return path_; }

 private:
  std::string full(std::string_view name) const {
    if (path_.empty()) return std::string(name);
    return path_ + "." + std::string(name);
  }

  const WeightSource* source_;
  std::string path_;
};

}  // namespace dreamlab
