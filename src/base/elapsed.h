#pragma once

#include <chrono>

namespace dreamlab {

// A longer timeout, which any client may ask for, would overflow the clock.
inline constexpr double kLongestTimeout_s = 1e8;

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return 1000 * seconds_since(begin);
}

}  // namespace dreamlab
