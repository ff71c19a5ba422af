#pragma once

// Small random weights and inputs for tests of single layers.
#include <random>
#include <string>
#include <vector>

#include "device/device.h"
#include "weights/tensor_map.h"

namespace dreamlab {

inline std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& value : out) value = static_cast<float>(generator() % 2001) / 1000.0f - 1.0f;
  return out;
}

inline HostTensor random_tensor(Shape shape, uint32_t seed) {
  return HostTensor::from_f32(random_values(shape.elements(), seed), shape);
}

inline Tensor random_input(Device& device, Shape shape, uint32_t seed) {
  return device.upload(random_values(shape.elements(), seed), shape);
}

// A source that holds the tensors it is told.
class TestWeights : public TensorMap {
 public:
  TestWeights() : TensorMap("test weights") {}
  void add_random(const std::string& name, Shape shape) {
    add(name, random_tensor(shape, static_cast<uint32_t>(100 + entries().size())), name);
  }
  void add_linear(const std::string& module, int64_t in, int64_t out) {
    add_random(module + ".weight", {out, in});
    add_random(module + ".bias", {out});
  }
};

}  // namespace dreamlab
