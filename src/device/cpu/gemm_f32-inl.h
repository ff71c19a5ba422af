// Per-target include. The f32 matrix kernel under Winograd convolution and attention.
//
// One call multiplies a strip of A (at most kRows rows) with a panel of B (kPanel columns), keeping the strip of C in
// registers. AVX-512 has 32 registers: 14 x 2 accumulators, 2 for B and 1 for the broadcast A; AVX2 has 16: 6 x 2,
// 2, 1. Each step of k then takes 2 loads and 14 broadcasts for 28 multiply-adds, which leaves the load ports idle a
// third of the time.
//
// Layouts, chosen so that every address is one register plus a constant:
//   A "blocked":  [k / 64][row][64]       element (row, k) at ((k / 64) * rows + row) * 64 + k % 64
//   B "panels":   [n / kPanel][k][kPanel]
// Sums run over k in ascending order in one chain per element, whatever the blocking, so results do not depend on it.
#if defined(DREAMLAB_DEVICE_CPU_GEMM_F32_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DREAMLAB_DEVICE_CPU_GEMM_F32_INL_H_
#undef DREAMLAB_DEVICE_CPU_GEMM_F32_INL_H_
#else
#define DREAMLAB_DEVICE_CPU_GEMM_F32_INL_H_
#endif

#include <array>
#include <utility>

#include "device/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dreamlab::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 64;          // A's block of k
constexpr int64_t kPanel = 2 * kLanes;  // B's columns at a time
constexpr int kRows = kLanes == 16 ? 14 : kLanes == 1 ? 4 : 6;
constexpr int64_t kDepth = 3 * kBlock;  // k at a time, so that a panel of B (24 KiB) stays in the first-level cache

// C[0..R)[0..kPanel) (+)= A strip * B panel over `depth` values of k. a: the strip's first row; a_block: floats between
// blocks of A.
template <int R>
HWY_NOINLINE void multiply_strip(const float* HWY_RESTRICT a, int64_t a_block, const float* HWY_RESTRICT b,
                                 int64_t depth, float* HWY_RESTRICT c, int64_t c_stride, bool accumulate) {
  const F32 d;
  VF32 acc0[R], acc1[R];
  if (accumulate) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      acc0[i] = hn::LoadU(d, c + i * c_stride);
      acc1[i] = hn::LoadU(d, c + i * c_stride + kLanes);
    }
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) acc0[i] = acc1[i] = hn::Zero(d);
  }
  for (int64_t begin = 0; begin < depth; begin += kBlock, a += a_block) {
    const int64_t count = std::min(kBlock, depth - begin);
    for (int64_t k = 0; k < count; ++k, b += kPanel) {
      const VF32 b0 = hn::LoadU(d, b);
      const VF32 b1 = hn::LoadU(d, b + kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const VF32 x = hn::Set(d, a[i * kBlock + k]);
        acc0[i] = hn::MulAdd(x, b0, acc0[i]);
        acc1[i] = hn::MulAdd(x, b1, acc1[i]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    hn::StoreU(acc0[i], d, c + i * c_stride);
    hn::StoreU(acc1[i], d, c + i * c_stride + kLanes);
  }
}

using StripFunction = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t, bool);

template <int... R>
constexpr std::array<StripFunction, sizeof...(R)> make_strips(std::integer_sequence<int, R...>) {
  return {&multiply_strip<R + 1>...};
}
constexpr auto kStrips = make_strips(std::make_integer_sequence<int, kRows>());

// C[rows][kPanel] (+)= A[rows][depth] * one panel of B, for blocked A with `a_rows` rows per block. Depth is cut by the
// caller.
inline void multiply_panel(const float* a, int64_t a_rows, int64_t rows, const float* b, int64_t depth, float* c,
                           int64_t c_stride, bool accumulate) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows)
    multiply_strip<kRows>(a + row * kBlock, a_rows * kBlock, b, depth, c + row * c_stride, c_stride, accumulate);
  if (row < rows)
    kStrips[static_cast<size_t>(rows - row - 1)](a + row * kBlock, a_rows * kBlock, b, depth, c + row * c_stride,
                                                 c_stride, accumulate);
}

}  // namespace dreamlab::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
