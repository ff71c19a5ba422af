#include "scheduler/elementary.h"

#include <bit>
#include <cmath>
#include <cstdint>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF  // GCC does not contract in ISO mode; a fused multiply-add would change last bits
#endif

namespace dreamlab {
namespace {

constexpr double kLn2 = 0.693147180559945309417232121458;
constexpr double kSqrt2 = 1.41421356237309504880168872421;
constexpr double kTwoOverPi = 0.636619772367581343075535053490;
// pi / 2 in two parts; the first has 33 significant bits, so that small multiples of it are exact.
constexpr double kHalfPiHigh = 0x1.921fb544p+0;
constexpr double kHalfPiLow = 0x1.0b4611a626331p-34;

constexpr int kMantissaBits = 52;
constexpr int kExponentBias = 1023;

}  // namespace

double portable_log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> kMantissaBits) - kExponentBias;
  constexpr uint64_t kMantissaMask = (uint64_t{1} << kMantissaBits) - 1;
  double mantissa =
      std::bit_cast<double>((bits & kMantissaMask) | (static_cast<uint64_t>(kExponentBias) << kMantissaBits));
  if (mantissa > kSqrt2) {
    mantissa *= 0.5;
    ++exponent;
  }
  // log m = 2 atanh(s) with |s| <= 0.172: the series below ends where its next term is under 1e-17 of the sum.
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double series = 0.0;
  for (int power = 23; power >= 3; power -= 2) series = (series + 1.0 / power) * square;
  return exponent * kLn2 + (2.0 * s + 2.0 * s * series);
}

SineCosine portable_sincos(double angle) {
  const int quadrant = static_cast<int>(std::lround(angle * kTwoOverPi));
  const double rest = (angle - quadrant * kHalfPiHigh) - quadrant * kHalfPiLow;  // in [-pi/4, pi/4]
  const double square = rest * rest;
  // Taylor series, innermost term first.
  double sine = 1.0;
  for (int n = 18; n >= 2; n -= 2) sine = 1.0 - sine * square / (n * (n + 1));
  sine *= rest;
  double cosine = 1.0;
  for (int n = 17; n >= 1; n -= 2) cosine = 1.0 - cosine * square / (n * (n + 1));
  switch (quadrant & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace dreamlab
