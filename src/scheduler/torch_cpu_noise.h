#pragma once

#include <cstdint>
#include <optional>
#include <random>

#include "scheduler/random.h"

namespace dreamlab {

// torch.randn of PyTorch's CPU generator: mt19937 (Matsumoto and Nishimura 1998) and the Box-Muller transform. Only the
// low 32 bits of the seed count, as there. Draws of 16 elements and more go in groups of 16, smaller ones in pairs
// whose second half waits for the next small draw (ATen's normal_fill and normal_distribution).
class TorchCpuNoise : public NoiseSource {
 public:
  TorchCpuNoise(uint64_t seed, NoisePrecision precision);
  void normals(std::span<float> out) override;
  // torch.randn in f64.
  void normals(std::span<double> out);
  // torch.rand: uniform in [0, 1).
  void uniforms(std::span<float> out);
  // torch.randint(0, 2^31)
  int64_t integer31();

 private:
  template <typename Number>
  void fill_groups(std::span<Number> out, Number (TorchCpuNoise::*uniform)(), void (*transform)(Number*));
  double one_normal();
  float uniform_float();
  double uniform_double();

  std::mt19937 engine_;
  NoisePrecision precision_;
  std::optional<double> waiting_;
};

}  // namespace dreamlab
