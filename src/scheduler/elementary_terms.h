#pragma once

// The constants of elementary.h's functions, for those and for their vectorized form.
#include <array>
#include <cstddef>
#include <cstdint>

namespace dreamlab {

constexpr double kLn2 = 0.693147180559945309417232121458;
constexpr double kSqrt2 = 1.41421356237309504880168872421;
constexpr double kTwoOverPi = 0.636619772367581343075535053490;
// pi / 2 in two parts; the first has 33 significant bits, so that small multiples of it are exact.
constexpr double kHalfPiHigh = 0x1.921fb544p+0;
constexpr double kHalfPiLow = 0x1.0b4611a626331p-34;

constexpr int kMantissaBits = 52;
constexpr int kExponentBias = 1023;
constexpr uint64_t kMantissaMask = (uint64_t{1} << kMantissaBits) - 1;

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

// cuRAND's uniforms in (0, 1] and angles in (0, 2 pi]: words times these, and half of them.
constexpr double kUniformStep = 0x1p-32;
constexpr double kAngleStep = 0x1.921fb6p-30f;  // the f32 nearest 2 pi, times 2^-32

}  // namespace dreamlab
