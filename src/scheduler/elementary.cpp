#include "scheduler/elementary.h"

#include <array>
#include <bit>
#include <cstddef>
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

// Factors of the series 2 atanh(s) / (2 s) - 1, of sin(x) / x and of cos(x), by powers of the square: 1/3, 1/5, ... and
// +-1/n!. The first term left out is below 1e-17 on the ranges used.
constexpr int kTerms = 11;
using Series = std::array<double, kTerms>;

constexpr Series log_series() {
  Series series{};
  for (int i = 0; i < kTerms; ++i) series[static_cast<size_t>(i)] = 1.0 / (2 * i + 3);
  return series;
}

constexpr Series factorial_series(int first) {
  Series series{};
  double term = 1.0;
  for (int i = 0; i < kTerms; ++i) {
    series[static_cast<size_t>(i)] = term;
    term /= -static_cast<double>((2 * i + first) * (2 * i + first + 1));
  }
  return series;
}

constexpr Series kLog = log_series();
constexpr Series kSine = factorial_series(2);
constexpr Series kCosine = factorial_series(1);

double sum(const Series& series, double square) {
  double value = series[kTerms - 1];
  for (int i = kTerms - 2; i >= 0; --i) value = value * square + series[static_cast<size_t>(i)];
  return value;
}

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
