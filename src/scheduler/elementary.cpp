#include "scheduler/elementary.h"

#include <bit>
#include <cstddef>
#include <cstdint>

#include "scheduler/elementary_terms.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF  // GCC does not contract in ISO mode; a fused multiply-add would change last bits
#endif

namespace dreamlab {
namespace {

double sum(const Series& series, double square) {
  double value = series[kTerms - 1];
  for (int i = kTerms - 2; i >= 0; --i) value = value * square + series[static_cast<size_t>(i)];
  return value;
}

}  // namespace

double portable_log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> kMantissaBits) - kExponentBias;
  double mantissa =
      std::bit_cast<double>((bits & kMantissaMask) | (static_cast<uint64_t>(kExponentBias) << kMantissaBits));
  if (mantissa > kSqrt2) {
    mantissa *= 0.5;
    ++exponent;
  }
  // log m = 2 atanh(s) with |s| <= 0.172
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  return exponent * kLn2 + (2.0 * s + 2.0 * s * (square * sum(kLog, square)));
}

SineCosine portable_sincos(double angle) {
  const int octant = static_cast<int>(angle * (2.0 * kTwoOverPi));
  const int quadrant = (octant + 1) / 2;
  const double rest = (angle - quadrant * kHalfPiHigh) - quadrant * kHalfPiLow;  // in [-pi/4, pi/4]
  const double square = rest * rest;
  const double sine = rest * sum(kSine, square);
  const double cosine = sum(kCosine, square);
  // Every quarter turn makes the sine a cosine and the cosine minus a sine.
  const bool odd = (quadrant & 1) != 0;
  const double sine_sign = (quadrant & 2) != 0 ? -1.0 : 1.0;
  const double cosine_sign = ((quadrant + 1) & 2) != 0 ? -1.0 : 1.0;
  return {sine_sign * (odd ? cosine : sine), cosine_sign * (odd ? sine : cosine)};
}

}  // namespace dreamlab
