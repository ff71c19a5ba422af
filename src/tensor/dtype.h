#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dreamlab {

enum class DType : uint8_t { f32, f16, bf16, f64, i64, i32, i16, i8, u8, boolean };

// Bytes of one element.
size_t size_of(DType dtype);
// "f32", "f16", "bf16", ... as in help texts and tables.
std::string_view name_of(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);
bool is_floating_point(DType dtype);

// bfloat16: the upper half of a float. Conversion rounds to nearest even and keeps NaN a NaN.
struct BFloat16 {
  uint16_t bits;
  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  static BFloat16 from_float(float value);
};

// IEEE half precision. Conversion rounds to nearest even; overflow becomes infinity.
struct Float16 {
  uint16_t bits;
  explicit operator float() const;
  static Float16 from_float(float value);
};

static_assert(sizeof(BFloat16) == 2 && sizeof(Float16) == 2);

// Converts `count` elements between floating-point dtypes (f32, f16, bf16, f64; any pair).
void convert_elements(const void* from, DType from_dtype, void* to, DType to_dtype, size_t count);

}  // namespace dreamlab
