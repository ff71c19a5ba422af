#pragma once

// One table of cases for every device, and how results are compared with the reference's.
#include <functional>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "device/device.h"

namespace dreamlab {

// Runs one operation on a device, with inputs that depend on the case alone.
class Inputs {
 public:
  explicit Inputs(Device& device) : device_(device) {}
  std::vector<float> values(int64_t count, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> out(static_cast<size_t>(count));
    // Values that bf16 holds exactly, so that the devices start from the same numbers.
    for (float& v : out) v = static_cast<float>(BFloat16::from_float(normal(random_)));
    return out;
  }
  Tensor tensor(Shape shape, float scale = 1.0f) { return device_.upload(values(shape.elements(), scale), shape); }
  HostTensor host(Shape shape, float scale = 1.0f) {
    return HostTensor::from_f32(values(shape.elements(), scale), shape);
  }
  NormWeights norm(int64_t channels) {
    return {device_.upload(values(channels), Shape{channels}, DType::f32),
            device_.upload(values(channels), Shape{channels}, DType::f32), 1e-5f};
  }

 private:
  Device& device_;
  std::mt19937 random_{7};
};

struct OpCase {
  std::string name;
  std::function<Tensor(Device&, Inputs&)> run;
};
inline void PrintTo(const OpCase& op, std::ostream* out) {
  *out << op.name;
}

std::vector<OpCase> op_cases();

// That the device's result differs from the reference's by at most `tolerance` of the largest value.
void expect_agreement(const OpCase& op, Device& device, double tolerance);

}  // namespace dreamlab
