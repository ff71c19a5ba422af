#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "weights/weight_source.h"

namespace dreamlab {

// The weights of one network, gathered from files, under diffusers' names.
class TensorMap : public WeightSource {
 public:
  struct Entry {
    HostTensor tensor;
    std::string stored_name;  // as the file has it
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  // label says in messages where the tensors come from: "model.safetensors (UNet)".
  explicit TensorMap(std::string label) : label_(std::move(label)) {}

  // Throws Error(invalid_file) when two stored tensors claim one name.
  void add(std::string name, HostTensor tensor, std::string stored_name);
  // Of a tensor that is there.
  void replace(std::string_view name, HostTensor tensor) { entries_.find(name)->second.tensor = std::move(tensor); }
  void remove(std::string_view name) { entries_.erase(entries_.find(name)); }

  // The tensor is aligned to its element size; see WeightSource::get for the rest.
  HostTensor get(std::string_view name, const Shape& shape) const override;
  bool contains(std::string_view name) const override { return entries_.find(name) != entries_.end(); }
  std::optional<Shape> shape_of(std::string_view name) const override;

  const Entries& entries() const { return entries_; }
  const std::string& label() const { return label_; }
  bool empty() const { return entries_.empty(); }

 private:
  std::string label_;
  Entries entries_;
};

// Whether a stored shape can serve as the wanted one: equal but for extents of 1.
bool shapes_agree(const Shape& stored, const Shape& wanted);

}  // namespace dreamlab
