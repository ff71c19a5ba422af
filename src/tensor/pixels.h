#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace dreamlab {

// A value nominally in -1..1 to a byte: round((x / 2 + 0.5) clamped to 0..1, times 255), halves to even; NaN becomes 0.
inline uint8_t to_pixel(float value) {
  const float unit = value / 2 + 0.5f;
  const float clamped = unit > 0 ? std::min(unit, 1.0f) : 0.0f;   // so written for NaN's sake
  return static_cast<uint8_t>(std::nearbyint(clamped * 255.0f));  // the rounding mode is the default one
}

}  // namespace dreamlab
