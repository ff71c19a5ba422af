// convert_elements: checkpoints of billions of weights pass through here, so that the pairs that occur in them are
// vectorized.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/error.h"
#include "tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dreamlab::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
constexpr size_t kLanes = HWY_LANES(float);

// Each takes `count` elements, a multiple of the lanes, and returns nothing of the rest.
size_t whole(size_t count) {
  return count / kLanes * kLanes;
}

size_t f16_to_f32(const void* from, void* to, size_t count) {
  const hn::Rebind<hwy::float16_t, F32> half;
  const auto* source = static_cast<const hwy::float16_t*>(from);
  auto* target = static_cast<float*>(to);
  for (size_t i = 0; i < whole(count); i += kLanes)
    hn::StoreU(hn::PromoteTo(F32(), hn::LoadU(half, source + i)), F32(), target + i);
  return whole(count);
}

size_t bf16_to_f32(const void* from, void* to, size_t count) {
  const hn::Rebind<uint16_t, F32> half;
  const hn::RebindToUnsigned<F32> bits;
  const auto* source = static_cast<const uint16_t*>(from);
  auto* target = static_cast<float*>(to);
  for (size_t i = 0; i < whole(count); i += kLanes)
    hn::StoreU(hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, source + i)))), F32(),
               target + i);
  return whole(count);
}

size_t f32_to_bf16(const void* from, void* to, size_t count) {
  const hn::Rebind<uint16_t, F32> half;
  const hn::RebindToUnsigned<F32> bits;
  const hn::RebindToSigned<F32> whole_numbers;
  const auto* source = static_cast<const float*>(from);
  auto* target = static_cast<uint16_t*>(to);
  for (size_t i = 0; i < whole(count); i += kLanes) {
    const auto x = hn::LoadU(F32(), source + i);
    const auto b = hn::BitCast(bits, x);
    const auto even = hn::And(hn::ShiftRight<16>(b), hn::Set(bits, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(b, hn::Add(even, hn::Set(bits, 0x7fffu))));
    const auto nan = hn::Or(hn::ShiftRight<16>(b), hn::Set(bits, 0x40u));
    const auto result = hn::IfThenElse(hn::RebindMask(bits, hn::IsNaN(x)), nan, rounded);
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(whole_numbers, result)), half, target + i);
  }
  return whole(count);
}

}  // namespace dreamlab::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dreamlab {
namespace {

HWY_EXPORT(f16_to_f32);
HWY_EXPORT(bf16_to_f32);
HWY_EXPORT(f32_to_bf16);

template <typename T>
float to_float(T value) {
  return static_cast<float>(value);
}

template <typename T>
T from_float(float value) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<T>(value);
  else
    return T::from_float(value);
}

template <typename From, typename To>
void convert_each(const void* from, void* to, size_t count) {
  const auto* source = static_cast<const From*>(from);
  auto* target = static_cast<To*>(to);
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(target, source, count * sizeof(From));
  } else {
    for (size_t i = 0; i < count; ++i) target[i] = from_float<To>(to_float(source[i]));
  }
}

template <typename From>
void convert_from(const void* from, void* to, DType to_dtype, size_t count) {
  switch (to_dtype) {
    case DType::f32:
      return convert_each<From, float>(from, to, count);
    case DType::f16:
      return convert_each<From, Float16>(from, to, count);
    case DType::bf16:
      return convert_each<From, BFloat16>(from, to, count);
    case DType::f64:
      return convert_each<From, double>(from, to, count);
    default:
      fail(ErrorKind::internal, "cannot convert elements to {}", name_of(to_dtype));
  }
}

// Converts as many leading elements as the vector kernels take; returns how many.
size_t convert_vectors(const void* from, DType from_dtype, void* to, DType to_dtype, size_t count) {
  if (from_dtype == DType::f16 && to_dtype == DType::f32) return HWY_DYNAMIC_DISPATCH(f16_to_f32)(from, to, count);
  if (from_dtype == DType::bf16 && to_dtype == DType::f32) return HWY_DYNAMIC_DISPATCH(bf16_to_f32)(from, to, count);
  if (from_dtype == DType::f32 && to_dtype == DType::bf16) return HWY_DYNAMIC_DISPATCH(f32_to_bf16)(from, to, count);
  return 0;
}

void convert_range(const void* from, DType from_dtype, void* to, DType to_dtype, size_t count) {
  const size_t done = convert_vectors(from, from_dtype, to, to_dtype, count);
  from = static_cast<const char*>(from) + done * size_of(from_dtype);
  to = static_cast<char*>(to) + done * size_of(to_dtype);
  count -= done;
  if (count == 0) return;
  switch (from_dtype) {
    case DType::f32:
      return convert_from<float>(from, to, to_dtype, count);
    case DType::f16:
      return convert_from<Float16>(from, to, to_dtype, count);
    case DType::bf16:
      return convert_from<BFloat16>(from, to, to_dtype, count);
    case DType::f64:
      return convert_from<double>(from, to, to_dtype, count);
    default:
      fail(ErrorKind::internal, "cannot convert elements from {}", name_of(from_dtype));
  }
}

}  // namespace

void convert_elements(const void* from, DType from_dtype, void* to, DType to_dtype, size_t count) {
  if (from_dtype != DType::f16 || to_dtype != DType::bf16) return convert_range(from, from_dtype, to, to_dtype, count);
  // By way of f32, which holds every f16.
  constexpr size_t kPiece = 1024;
  float piece[kPiece];
  for (size_t i = 0; i < count; i += kPiece) {
    const size_t n = std::min(kPiece, count - i);
    convert_range(static_cast<const char*>(from) + i * 2, DType::f16, piece, DType::f32, n);
    convert_range(piece, DType::f32, static_cast<char*>(to) + i * 2, DType::bf16, n);
  }
}

}  // namespace dreamlab
#endif
