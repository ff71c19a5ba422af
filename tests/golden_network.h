#pragma once

// Golden records of networks: NCHW tensors of a .safetensors file against channels-last ones of a device.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "device/device.h"
#include "golden_dir.h"
#include "weights/tensor_file.h"

namespace dreamlab {

// [N, C, H, W] to [N, H, W, C]; other ranks stay as they are.
inline std::vector<float> channels_last(const std::vector<float>& values, const Shape& shape) {
  if (shape.rank() != 4) return values;
  const int64_t channels = shape[1], pixels = shape[2] * shape[3];
  std::vector<float> out(values.size());
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < pixels; ++i)
        out[static_cast<size_t>((n * pixels + i) * channels + c)] =
            values[static_cast<size_t>((n * channels + c) * pixels + i)];
  return out;
}

inline Shape channels_last(const Shape& shape) {
  return shape.rank() == 4 ? Shape{shape[0], shape[2], shape[3], shape[1]} : shape;
}

class GoldenRecord {
 public:
  // path: below the golden folder.
  explicit GoldenRecord(const std::string& path) : file_(open_tensor_file(golden_dir() / path)) {}

  bool contains(const std::string& name) const { return file_->contains(name); }
  std::vector<std::string> names() const { return file_->names(); }
  // "case0" where there is a tensor "case0/out".
  std::vector<std::string> cases_with(const std::string& tensor) const {
    std::vector<std::string> out;
    for (const std::string& name : names())
      if (name.ends_with("/" + tensor)) out.push_back(name.substr(0, name.size() - tensor.size() - 1));
    return out;
  }

  HostTensor host(const std::string& name) const {
    const HostTensor* found = file_->find(name);
    if (found == nullptr) throw std::runtime_error("the record has no tensor " + name);
    return aligned(*found);
  }
  Shape shape(const std::string& name) const { return host(name).shape; }
  std::vector<int32_t> ids(const std::string& name) const {
    const HostTensor tensor = host(name);
    const auto* first = reinterpret_cast<const int32_t*>(tensor.data);
    return std::vector<int32_t>(first, first + tensor.shape.elements());
  }
  // Channels last.
  std::vector<float> values(const std::string& name) const {
    const HostTensor tensor = host(name);
    return channels_last(tensor.to_f32(), tensor.shape);
  }
  Tensor upload(Device& device, const std::string& name) const {
    return device.upload(values(name), channels_last(shape(name)));
  }

 private:
  std::shared_ptr<const TensorFile> file_;
};

// Fails where a result differs from the record by more than `tolerance` of the record's largest value. Returns that
// relative error.
inline double expect_matches(const std::vector<float>& found, const GoldenRecord& record, const std::string& name,
                             double tolerance = 1e-4) {
  const std::vector<float> wanted = record.values(name);
  if (found.size() != wanted.size()) {
    ADD_FAILURE() << name << ": " << found.size() << " values, not " << wanted.size();
    return HUGE_VAL;
  }
  double largest = 0.0, error = 0.0;
  size_t worst = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(wanted[i])));
    const double off = std::abs(static_cast<double>(found[i]) - wanted[i]);
    if (off <= error) continue;  // false for NaN: that counts as the worst
    error = std::isnan(off) ? HUGE_VAL : off;
    worst = i;
  }
  const double relative = largest > 0.0 ? error / largest : error;
  EXPECT_LE(relative, tolerance) << name << ": value " << worst << " is " << found[worst] << ", recorded "
                                 << wanted[worst] << "; the largest is " << largest;
  return relative;
}

inline double expect_matches(Device& device, const Tensor& found, const GoldenRecord& record, const std::string& name,
                             double tolerance = 1e-4) {
  EXPECT_EQ(found.shape().to_string(), channels_last(record.shape(name)).to_string()) << name;
  return expect_matches(device.download(found), record, name, tolerance);
}

// Folders of the golden folder ("tiny-sd15") that hold the record file `name`.
inline std::vector<std::string> models_with(const std::string& name) {
  std::set<std::string> models = {"tiny-sd15"};
  if (std::filesystem::is_directory(golden_dir()))
    for (const auto& entry : std::filesystem::directory_iterator(golden_dir()))
      if (std::filesystem::exists(entry.path() / name)) models.insert(entry.path().filename().string());
  return {models.begin(), models.end()};
}

// The model that belongs to a record folder: a single file, or a directory where there is no such file.
inline std::filesystem::path model_path(const std::string& model) {
  const std::filesystem::path file = golden_dir() / "models" / (model + ".safetensors");
  return std::filesystem::exists(file) ? file : golden_dir() / "models" / model;
}

// A test's name from the name of a model: letters and digits only.
inline std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
  return name;
}

}  // namespace dreamlab
