#pragma once

// Plain types that the vectorized kernels take, so that no SIMD header leaks out of their files.
#include <cstdint>

#include "device/device.h"
#include "tensor/dtype.h"

namespace dreamlab::cpu {

// Elements in memory as f32 or bf16.
struct Elements {
  const void* data = nullptr;
  DType dtype = DType::f32;

  explicit operator bool() const { return data != nullptr; }
  Elements at(int64_t index) const {
    return {static_cast<const char*>(data) + static_cast<size_t>(index) * size_of(dtype), dtype};
  }
};

struct MutableElements {
  void* data = nullptr;
  DType dtype = DType::f32;

  MutableElements at(int64_t index) const {
    return {static_cast<char*>(data) + static_cast<size_t>(index) * size_of(dtype), dtype};
  }
};

// Epilogue (device.h) in terms of memory. `addend` and `residual` are [rows, channels] like the result; `bias` is
// [channels]; `image_bias` is [images, channels].
struct EpilogueArgs {
  float scale = 1.0f;
  const float* bias = nullptr;
  Elements addend, image_bias, residual;
  Activation activation = Activation::none;

  bool trivial() const {
    return scale == 1.0f && bias == nullptr && !addend && !image_bias && !residual && activation == Activation::none;
  }
};

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace dreamlab::cpu
