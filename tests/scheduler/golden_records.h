#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "golden_dir.h"
#include "weights/tensor_file.h"

namespace dreamlab {

inline std::shared_ptr<const TensorFile> golden_tensors(const std::string& name) {
  return open_tensor_file(golden_dir() / name);
}

// The tensor's numbers as f32; fails where it is not there.
inline std::vector<float> numbers(const TensorFile& file, const std::string& name) {
  const HostTensor* tensor = file.find(name);
  if (tensor == nullptr) throw std::runtime_error("no record " + name);
  return tensor->to_f32();
}

struct Difference {
  double largest = 0.0;    // absolute
  double magnitude = 0.0;  // largest number of the record
  size_t at = 0;
  double relative() const { return magnitude > 0.0 ? largest / magnitude : largest; }
};

inline Difference difference(std::span<const float> found, std::span<const float> record) {
  Difference result;
  if (found.size() != record.size()) {
    ADD_FAILURE() << found.size() << " numbers, recorded are " << record.size();
    result.largest = HUGE_VAL;
    return result;
  }
  for (size_t i = 0; i < record.size(); ++i) {
    const double off = std::abs(static_cast<double>(found[i]) - static_cast<double>(record[i]));
    result.magnitude = std::max(result.magnitude, std::abs(static_cast<double>(record[i])));
    if (!(off <= result.largest)) {
      result.largest = off;
      result.at = i;
    }
  }
  return result;
}

}  // namespace dreamlab
