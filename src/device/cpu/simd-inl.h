// Per-target include (no ordinary include guard: once for each instruction set). Loads, stores and functions that the
// kernels share.
#if defined(DREAMLAB_DEVICE_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DREAMLAB_DEVICE_CPU_SIMD_INL_H_
#undef DREAMLAB_DEVICE_CPU_SIMD_INL_H_
#else
#define DREAMLAB_DEVICE_CPU_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "device/cpu/kernel_types.h"

HWY_BEFORE_NAMESPACE();
namespace dreamlab::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using VF32 = hn::Vec<F32>;
using MF32 = hn::Mask<F32>;
// Vectors of f32 per register. The kernels need a compile-time constant; the targets we build have one.
constexpr int kLanes = HWY_LANES(float);

inline VF32 splat(float value) {
  return hn::Set(F32(), value);
}

inline VF32 load_bf16(const uint16_t* from) {
  const hn::RebindToUnsigned<F32> du;
  const hn::Rebind<uint16_t, F32> dh;
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, from))));
}

// Rounds to nearest even. NaN keeps its upper payload bits; a NaN that lives in the lower half alone does not occur in
// our data.
inline void store_bf16(VF32 value, uint16_t* to) {
  const hn::RebindToUnsigned<F32> du;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint16_t, F32> dh;
  const auto bits = hn::BitCast(du, value);
  const auto even = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(even, hn::Set(du, 0x7fffu))));
  hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, rounded)), dh, to);
}

// The same by element type, for loops that settle the type outside: float, or uint16_t for bf16.
inline VF32 load_lanes(const float* from) {
  return hn::LoadU(F32(), from);
}
inline VF32 load_lanes(const uint16_t* from) {
  return load_bf16(from);
}
inline void store_lanes(VF32 value, float* to) {
  hn::StoreU(value, F32(), to);
}
inline void store_lanes(VF32 value, uint16_t* to) {
  store_bf16(value, to);
}

// Calls function(const S* source, R* result) with the element types that the dtypes stand for.
template <typename Function>
void with_types(Elements source, MutableElements result, const Function& function) {
  const auto with_result = [&](auto* from) {
    if (result.dtype == DType::f32)
      function(from, static_cast<float*>(result.data));
    else
      function(from, static_cast<uint16_t*>(result.data));
  };
  if (source.dtype == DType::f32)
    with_result(static_cast<const float*>(source.data));
  else
    with_result(static_cast<const uint16_t*>(source.data));
}

inline VF32 load(Elements from, int64_t index) {
  return from.dtype == DType::f32 ? hn::LoadU(F32(), static_cast<const float*>(from.data) + index)
                                  : load_bf16(static_cast<const uint16_t*>(from.data) + index);
}

inline void store(VF32 value, MutableElements to, int64_t index) {
  if (to.dtype == DType::f32)
    hn::StoreU(value, F32(), static_cast<float*>(to.data) + index);
  else
    store_bf16(value, static_cast<uint16_t*>(to.data) + index);
}

// The first `count` lanes (1 to kLanes), the others zero.
inline VF32 load_some(Elements from, int64_t index, int64_t count) {
  if (count >= kLanes) return load(from, index);
  HWY_ALIGN float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) {
    lanes[i] = from.dtype == DType::f32 ? static_cast<const float*>(from.data)[index + i]
                                        : static_cast<float>(static_cast<const BFloat16*>(from.data)[index + i]);
  }
  return hn::Load(F32(), lanes);
}

inline void store_some(VF32 value, MutableElements to, int64_t index, int64_t count) {
  if (count >= kLanes) return store(value, to, index);
  HWY_ALIGN float lanes[kLanes];
  hn::Store(value, F32(), lanes);
  for (int64_t i = 0; i < count; ++i) {
    if (to.dtype == DType::f32)
      static_cast<float*>(to.data)[index + i] = lanes[i];
    else
      static_cast<BFloat16*>(to.data)[index + i] = BFloat16::from_float(lanes[i]);
  }
}

// 2^x for any x; relative error about 2e-7. Saturates at 2^-126 and 2^127.
inline VF32 exp2(VF32 x) {
  const hn::RebindToSigned<F32> di;
  x = hn::Min(hn::Max(x, splat(-126.0f)), splat(127.0f));
  const VF32 whole = hn::Round(x);
  const VF32 f = hn::Sub(x, whole);
  VF32 p = splat(1.5403530e-4f);  // ln(2)^n / n!
  p = hn::MulAdd(p, f, splat(1.3333558e-3f));
  p = hn::MulAdd(p, f, splat(9.6181291e-3f));
  p = hn::MulAdd(p, f, splat(5.5504109e-2f));
  p = hn::MulAdd(p, f, splat(2.4022651e-1f));
  p = hn::MulAdd(p, f, splat(6.9314718e-1f));
  p = hn::MulAdd(p, f, splat(1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, whole), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(F32(), exponent));
}

constexpr float kLog2E = 1.44269504f;

// erf by Abramowitz and Stegun 7.1.26; absolute error below 2e-7.
inline VF32 erf(VF32 x) {
  const VF32 magnitude = hn::Abs(x);
  const VF32 t = hn::Div(splat(1.0f), hn::MulAdd(magnitude, splat(0.3275911f), splat(1.0f)));
  VF32 p = splat(1.061405429f);
  p = hn::MulAdd(p, t, splat(-1.453152027f));
  p = hn::MulAdd(p, t, splat(1.421413741f));
  p = hn::MulAdd(p, t, splat(-0.284496736f));
  p = hn::MulAdd(p, t, splat(0.254829592f));
  const VF32 e = exp2(hn::Mul(hn::Mul(magnitude, magnitude), splat(-kLog2E)));
  return hn::CopySign(hn::NegMulAdd(hn::Mul(p, t), e, splat(1.0f)), x);
}

inline VF32 sigmoid(VF32 x) {
  return hn::Div(splat(1.0f), hn::Add(splat(1.0f), exp2(hn::Mul(x, splat(-kLog2E)))));
}

inline VF32 gelu(VF32 x) {
  return hn::Mul(hn::Mul(x, splat(0.5f)), hn::Add(splat(1.0f), erf(hn::Mul(x, splat(0.70710678118654752f)))));
}

inline VF32 activate(VF32 x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::silu:
      return hn::Mul(x, sigmoid(x));
    case Activation::gelu:
      return gelu(x);
    case Activation::quick_gelu:
      return hn::Mul(x, sigmoid(hn::Mul(x, splat(1.702f))));
    case Activation::relu:
      return hn::Max(x, hn::Zero(F32()));
    case Activation::leaky_relu:
      return hn::IfThenElse(hn::Ge(x, hn::Zero(F32())), x, hn::Mul(x, splat(0.2f)));
    case Activation::tanh:
      return hn::Sub(hn::Mul(splat(2.0f), sigmoid(hn::Add(x, x))), splat(1.0f));
    case Activation::sigmoid:
      return sigmoid(x);
  }
  return x;
}

// What `epilogue` makes of the product `x` at channels [channel, channel + count) of result row `row` of image `image`.
inline VF32 finish(VF32 x, const EpilogueArgs& epilogue, int64_t image, int64_t row, int64_t channels, int64_t channel,
                   int64_t count) {
  if (epilogue.bias != nullptr) x = hn::Add(x, load_some({epilogue.bias, DType::f32}, channel, count));
  if (epilogue.scale != 1.0f) x = hn::Mul(x, splat(epilogue.scale));
  if (epilogue.addend) x = hn::Add(x, load_some(epilogue.addend, row * channels + channel, count));
  if (epilogue.image_bias) x = hn::Add(x, load_some(epilogue.image_bias, image * channels + channel, count));
  x = activate(x, epilogue.activation);
  if (epilogue.residual) x = hn::Add(x, load_some(epilogue.residual, row * channels + channel, count));
  return x;
}

}  // namespace dreamlab::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
