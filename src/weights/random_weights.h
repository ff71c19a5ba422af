#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/expected_tensors.h"
#include "weights/weight_source.h"

namespace dreamlab {

// Weights of a full-size network from a seed, made when they are asked for and gone with the HostTensor: speed and
// structure are measured without a checkpoint. A tensor depends on the seed and its name only. Normals with the scale
// that keeps activations of unit size: 1/sqrt(fan-in) for matrices and convolutions, near 1 for norm weights, near 0
// for biases, 0.02 for embeddings.
class RandomWeights : public WeightSource {
 public:
  // tensors: what the network has, from expected_tensors(config); contains() and shape_of() answer by it and get()
  // checks against it. dtype: f32, f16 or bf16.
  RandomWeights(uint64_t seed, DType dtype, const ExpectedTensors& tensors);

  // Safe to call from several threads at once. One thread fills about a billion elements a second.
  HostTensor get(std::string_view name, const Shape& shape) const override;
  bool contains(std::string_view name) const override { return shapes_.find(name) != shapes_.end(); }
  std::optional<Shape> shape_of(std::string_view name) const override;

 private:
  uint64_t seed_;
  DType dtype_;
  std::map<std::string, Shape, std::less<>> shapes_;
};

}  // namespace dreamlab
