#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>

#include "file_writers.h"
#include "tensor/host_tensor.h"
#include "weights/expected_tensors.h"
#include "weights/tensor_file.h"

namespace dreamlab {

// Collects tensors and writes them as a safetensors file.
class TensorWriter {
 public:
  void add(const std::string& name, const HostTensor& tensor) {
    static const std::map<DType, std::string> kNames{
        {DType::f32, "F32"}, {DType::f16, "F16"}, {DType::bf16, "BF16"}, {DType::i64, "I64"}, {DType::u8, "U8"}};
    header_ += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", header_.empty() ? "" : ",",
                           name, kNames.at(tensor.dtype), fmt::join(tensor.shape.dims(), ","), data_.size(),
                           data_.size() + tensor.bytes());
    data_.append(reinterpret_cast<const char*>(tensor.data), tensor.bytes());
  }
  // A tensor whose values nobody looks at.
  void add(const std::string& name, const Shape& shape, DType dtype = DType::f16) {
    const std::string bytes(static_cast<size_t>(shape.elements()) * size_of(dtype), '\0');
    add(name, HostTensor{reinterpret_cast<const std::byte*>(bytes.data()), dtype, shape, nullptr});
  }
  void add(const ExpectedTensors& tensors, const std::string& prefix = "") {
    for (const ExpectedTensor& tensor : tensors) add(prefix + tensor.name, tensor.shape);
  }
  // Every tensor of a file, under the name that `rename` gives; "" leaves it out.
  template <typename Rename>
  void add_renamed(const TensorFile& file, Rename rename) {
    for (const auto& [name, tensor] : file.tensors())
      if (const std::string renamed = rename(name); !renamed.empty()) add(renamed, tensor);
  }
  std::string file() const { return safetensors_file("{" + header_ + "}", data_); }

 private:
  std::string header_, data_;
};

}  // namespace dreamlab
