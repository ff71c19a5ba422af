#include "scheduler/numpy_noise.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "scheduler/elementary.h"

namespace dreamlab {

namespace {

uint32_t checked(uint64_t seed) {
  if (seed > std::numeric_limits<uint32_t>::max())
    fail(ErrorKind::invalid_argument, "seed {} is out of range for RNG=numpy; 0..4294967295 is allowed", seed);
  return static_cast<uint32_t>(seed);
}

}  // namespace

NumpyNoise::NumpyNoise(uint64_t seed) : generator_(checked(seed)) {}

// 53 random bits, in 0..1 without 1.
double NumpyNoise::uniform() {
  const uint32_t high = generator_() >> 5, low = generator_() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

double NumpyNoise::normal() {
  if (second_) {
    const double value = *second_;
    second_.reset();
    return value;
  }
  double x = 0, y = 0, square = 0;
  do {
    x = 2.0 * uniform() - 1.0;
    y = 2.0 * uniform() - 1.0;
    square = x * x + y * y;
  } while (square >= 1.0 || square == 0.0);
  const double factor = std::sqrt(-2.0 * portable_log(square) / square);
  second_ = factor * x;
  return factor * y;
}

void NumpyNoise::normals(std::span<float> out) {
  for (float& value : out) value = static_cast<float>(normal());
}

}  // namespace dreamlab
