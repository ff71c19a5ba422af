#pragma once

#include <cstdint>
#include <vector>

namespace dreamlab {

// Appends `value` most significant byte first, as PNG and Exif store numbers.
inline void put_u16(std::vector<uint8_t>& out, uint32_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

inline void put_u32(std::vector<uint8_t>& out, uint32_t value) {
  put_u16(out, value >> 16);
  put_u16(out, value & 0xFFFF);
}

}  // namespace dreamlab
