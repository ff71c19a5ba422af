#pragma once

#include <cstdint>
#include <optional>
#include <random>

#include "scheduler/random.h"

namespace dreamlab {

// What numpy.random.RandomState(seed).randn() gives: the Mersenne twister's 53-bit numbers through Marsaglia's polar
// method, two normals at a time (NumPy's legacy generators, which are frozen). One stream, however it is cut.
class NumpyNoise : public NoiseSource {
 public:
  // seed: below 2^32. Throws Error(invalid_argument).
  explicit NumpyNoise(uint64_t seed);
  void normals(std::span<float> out) override;

 private:
  double uniform();
  double normal();

  std::mt19937 generator_;
  std::optional<double> second_;  // of a pair
};

}  // namespace dreamlab
