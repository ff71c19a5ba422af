#include "device/cpu/softmax_block.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/softmax_block.cpp"
#include <hwy/foreach_target.h>

#include "device/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dreamlab::cpu::HWY_NAMESPACE {

constexpr float kMasked = -1e30f;

int64_t sum_width() {
  return kLanes;
}

void start(const SoftmaxState& state, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i) state.largest[i] = kMasked;
  for (int64_t i = 0; i < rows; ++i) hn::StoreU(hn::Zero(F32()), F32(), state.sums + i * kLanes);
}

// Lanes beyond the row count as masked.
VF32 load_scores(const float* row, int64_t k, int64_t keys) {
  if (k + kLanes <= keys) return load_lanes(row + k);
  return hn::IfThenElse(hn::FirstN(F32(), static_cast<size_t>(keys - k)), load_some({row, DType::f32}, k, keys - k),
                        splat(kMasked));
}

void soften(const float* scores, int64_t rows, int64_t keys, float scale, const SoftmaxState& state,
            uint16_t* weights) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* const row = scores + i * keys;
    VF32 top = splat(kMasked);
    for (int64_t k = 0; k < keys; k += kLanes) top = hn::Max(top, load_scores(row, k, keys));
    const float largest = std::max(state.largest[i], hn::GetLane(hn::MaxOfLanes(F32(), top)) * scale);
    state.shrink[i] = hn::GetLane(exp2(splat(state.largest[i] - largest)));
    state.largest[i] = largest;
    VF32 sum = hn::Mul(load_lanes(state.sums + i * kLanes), splat(state.shrink[i]));
    for (int64_t k = 0; k < keys; k += kLanes) {
      const VF32 weight = exp2(hn::MulSub(load_scores(row, k, keys), splat(scale), splat(largest)));
      sum = hn::Add(sum, weight);
      store_some(weight, {weights, DType::bf16}, i * keys + k, keys - k);
    }
    store_lanes(sum, state.sums + i * kLanes);
  }
}

void accumulate(float* out, const float* product, int64_t rows, int64_t width, const SoftmaxState& state) {
  for (int64_t i = 0; i < rows; ++i) {
    const VF32 shrink = splat(state.shrink[i]);
    for (int64_t c = 0; c < width; c += kLanes) {
      const int64_t count = width - c;
      const VF32 x = hn::MulAdd(load_some({out, DType::f32}, i * width + c, count), shrink,
                                load_some({product, DType::f32}, i * width + c, count));
      store_some(x, {out, DType::f32}, i * width + c, count);
    }
  }
}

void finish_rows(const float* out, int64_t rows, int64_t width, const SoftmaxState& state, uint16_t* result,
                 int64_t result_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    const VF32 inverse = hn::Div(splat(1.0f), hn::SumOfLanes(F32(), load_lanes(state.sums + i * kLanes)));
    for (int64_t c = 0; c < width; c += kLanes)
      store_some(hn::Mul(load_some({out, DType::f32}, i * width + c, width - c), inverse), {result, DType::bf16},
                 i * result_stride + c, width - c);
  }
}

}  // namespace dreamlab::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dreamlab::cpu {

HWY_EXPORT(sum_width);
HWY_EXPORT(start);
HWY_EXPORT(soften);
HWY_EXPORT(accumulate);
HWY_EXPORT(finish_rows);

int64_t softmax_sum_width() {
  return HWY_DYNAMIC_DISPATCH(sum_width)();
}
void start_softmax(const SoftmaxState& state, int64_t rows) {
  HWY_DYNAMIC_DISPATCH(start)(state, rows);
}
void soften_block(const float* scores, int64_t rows, int64_t keys, float scale, const SoftmaxState& state,
                  uint16_t* weights) {
  HWY_DYNAMIC_DISPATCH(soften)(scores, rows, keys, scale, state, weights);
}
void accumulate_block(float* out, const float* product, int64_t rows, int64_t width, const SoftmaxState& state) {
  HWY_DYNAMIC_DISPATCH(accumulate)(out, product, rows, width, state);
}
void finish_softmax(const float* out, int64_t rows, int64_t width, const SoftmaxState& state, uint16_t* result,
                    int64_t result_stride) {
  HWY_DYNAMIC_DISPATCH(finish_rows)(out, rows, width, state, result, result_stride);
}

}  // namespace dreamlab::cpu
#endif
