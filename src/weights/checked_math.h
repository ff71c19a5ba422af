#pragma once

// Arithmetic on numbers that come from a file.
#include <cstdint>
#include <optional>
#include <span>

namespace dreamlab {

// a * b, unless that overflows.
inline std::optional<uint64_t> checked_multiply(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

// Product of extents, unless one is negative, or the product of those that are not 0 overflows. Checking the latter
// even where an extent is 0 keeps any later reshape or partial product in range.
inline std::optional<uint64_t> checked_elements(std::span<const int64_t> dims) {
  uint64_t product = 1;
  bool empty = false;
  for (const int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    if (dim == 0) {
      empty = true;
      continue;
    }
    const auto next = checked_multiply(product, static_cast<uint64_t>(dim));
    if (!next || *next > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    product = *next;
  }
  return empty ? 0 : product;
}

}  // namespace dreamlab
