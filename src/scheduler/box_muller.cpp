#include "scheduler/box_muller.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "scheduler/elementary_terms.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "scheduler/box_muller.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF  // a fused multiply-add would change last bits
#endif

HWY_BEFORE_NAMESPACE();
namespace dreamlab::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F64 = hn::ScalableTag<double>;
using F32 = hn::Rebind<float, F64>;
using I32 = hn::Rebind<int32_t, F64>;
using U32 = hn::Rebind<uint32_t, F64>;
using I64 = hn::RebindToSigned<F64>;
using U64 = hn::RebindToUnsigned<F64>;
using VF64 = hn::Vec<F64>;

HWY_INLINE VF64 constant(double value) {
  return hn::Set(F64(), value);
}

// The f32 nearest a word, which f64 holds exactly.
HWY_INLINE VF64 rounded_word(const uint32_t* words) {
  const auto bits = hn::LoadU(U32(), words);
  const auto high = hn::PromoteTo(F64(), hn::BitCast(I32(), hn::ShiftRight<16>(bits)));
  const auto low = hn::PromoteTo(F64(), hn::BitCast(I32(), hn::And(bits, hn::Set(U32(), 0xffff))));
  const auto exact = hn::Add(hn::Mul(high, constant(65536.0)), low);
  return hn::PromoteTo(F64(), hn::DemoteTo(F32(), exact));
}

// Through f32.
HWY_INLINE VF64 rounded(VF64 x) {
  return hn::PromoteTo(F64(), hn::DemoteTo(F32(), x));
}

HWY_INLINE VF64 sum(const Series& series, VF64 square) {
  auto value = constant(series[kTerms - 1]);
  for (int i = kTerms - 2; i >= 0; --i)
    value = hn::Add(hn::Mul(value, square), constant(series[static_cast<size_t>(i)]));
  return value;
}

// As portable_log.
HWY_INLINE VF64 logarithm(VF64 x) {
  const auto bits = hn::BitCast(U64(), x);
  // An integer below 2^52 in the lowest bits of 2^52.
  constexpr double kTwo52 = 0x1p52;
  const auto biased =
      hn::Sub(hn::BitCast(F64(), hn::Or(hn::ShiftRight<kMantissaBits>(bits), hn::BitCast(U64(), constant(kTwo52)))),
              constant(kTwo52));
  const auto exponent = hn::Sub(biased, constant(kExponentBias));
  const auto mantissa =
      hn::BitCast(F64(), hn::Or(hn::And(bits, hn::Set(U64(), kMantissaMask)), hn::BitCast(U64(), constant(1.0))));
  const auto large = hn::Gt(mantissa, constant(kSqrt2));
  const auto m = hn::IfThenElse(large, hn::Mul(mantissa, constant(0.5)), mantissa);
  const auto e = hn::IfThenElse(large, hn::Add(exponent, constant(1.0)), exponent);
  const auto s = hn::Div(hn::Sub(m, constant(1.0)), hn::Add(m, constant(1.0)));
  const auto square = hn::Mul(s, s), twice = hn::Mul(constant(2.0), s);
  return hn::Add(hn::Mul(e, constant(kLn2)), hn::Add(twice, hn::Mul(twice, hn::Mul(square, sum(kLog, square)))));
}

// As portable_sincos.
HWY_INLINE void sine_and_cosine(VF64 angle, VF64& sine, VF64& cosine) {
  const auto octant = hn::DemoteTo(I32(), hn::Mul(angle, constant(2.0 * kTwoOverPi)));
  const auto quadrant = hn::ShiftRight<1>(hn::Add(octant, hn::Set(I32(), 1)));
  const auto turns = hn::PromoteTo(F64(), quadrant);
  const auto rest =
      hn::Sub(hn::Sub(angle, hn::Mul(turns, constant(kHalfPiHigh))), hn::Mul(turns, constant(kHalfPiLow)));
  const auto square = hn::Mul(rest, rest);
  const auto of_sine = hn::Mul(rest, sum(kSine, square)), of_cosine = sum(kCosine, square);
  const auto wide = hn::PromoteTo(I64(), quadrant);
  const auto has = [](auto value, int64_t bit) {
    return hn::RebindMask(F64(), hn::TestBit(value, hn::Set(I64(), bit)));
  };
  const auto odd = has(wide, 1);
  sine = hn::IfThenElse(odd, of_cosine, of_sine);
  cosine = hn::IfThenElse(odd, of_sine, of_cosine);
  sine = hn::IfThenElse(has(wide, 2), hn::Neg(sine), sine);
  cosine = hn::IfThenElse(has(hn::Add(wide, hn::Set(I64(), 1)), 2), hn::Neg(cosine), cosine);
}

// `lanes` normals of each kind.
HWY_INLINE void transform_lanes(const uint32_t* radius_words, const uint32_t* angle_words, float* sines,
                                float* cosines) {
  const auto uniform =
      rounded(hn::Add(hn::Mul(rounded_word(radius_words), constant(kUniformStep)), constant(kUniformStep / 2)));
  const auto angle =
      rounded(hn::Add(hn::Mul(rounded_word(angle_words), constant(kAngleStep)), constant(kAngleStep / 2)));
  const auto radius = hn::Sqrt(hn::Mul(hn::Set(F32(), -2.0f), hn::DemoteTo(F32(), logarithm(uniform))));
  VF64 sine, cosine;
  sine_and_cosine(angle, sine, cosine);
  hn::StoreU(hn::Mul(radius, hn::DemoteTo(F32(), sine)), F32(), sines);
  hn::StoreU(hn::Mul(radius, hn::DemoteTo(F32(), cosine)), F32(), cosines);
}

void transform(const uint32_t* radius_words, const uint32_t* angle_words, size_t count, float* sines, float* cosines) {
  constexpr size_t kMostLanes = HWY_LANES(double);
  const size_t lanes = hn::Lanes(F64());
  std::array<uint32_t, kMostLanes> radius{}, angle{};
  std::array<float, kMostLanes> sine{}, cosine{};
  for (size_t i = 0; i < count; i += lanes) {
    const size_t here = std::min(lanes, count - i);
    const bool whole = here == lanes;
    if (!whole) {
      std::copy_n(radius_words + i, here, radius.begin());
      std::copy_n(angle_words + i, here, angle.begin());
    }
    transform_lanes(whole ? radius_words + i : radius.data(), whole ? angle_words + i : angle.data(),
                    whole ? sines + i : sine.data(), whole && cosines != nullptr ? cosines + i : cosine.data());
    if (whole) continue;
    std::copy_n(sine.begin(), here, sines + i);
    if (cosines != nullptr) std::copy_n(cosine.begin(), here, cosines + i);
  }
}

}  // namespace dreamlab::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dreamlab {
namespace {
HWY_EXPORT(transform);
}

void box_muller(std::span<const uint32_t> radius_words, std::span<const uint32_t> angle_words, std::span<float> sines,
                std::span<float> cosines) {
  const size_t count = sines.size();
  if (radius_words.size() != count || angle_words.size() != count || (!cosines.empty() && cosines.size() != count))
    fail(ErrorKind::internal, "box_muller: spans of {}, {}, {} and {}", radius_words.size(), angle_words.size(), count,
         cosines.size());
  HWY_DYNAMIC_DISPATCH(transform)
  (radius_words.data(), angle_words.data(), count, sines.data(), cosines.empty() ? nullptr : cosines.data());
}

}  // namespace dreamlab
#endif
