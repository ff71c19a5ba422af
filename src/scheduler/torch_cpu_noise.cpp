#include "scheduler/torch_cpu_noise.h"

#include <cmath>
#include <numbers>

#include "scheduler/elementary.h"
#include "tensor/dtype.h"

namespace dreamlab {
namespace {

constexpr size_t kGroup = 16;
constexpr size_t kHalfGroup = kGroup / 2;
constexpr float kTwoPi = 6.28318530717958647692f;
constexpr int kFloatDigits = 24;
constexpr int kHalfDigits = 11;
constexpr int kDoubleDigits = 53;

float rounded_to_half(float value) {
  return static_cast<float>(Float16::from_float(value));
}

// The 16 uniform numbers of one group become normal ones: element j and element j + 8 are the radius and the angle of a
// pair.
void transform_group_f32(float* group) {
  for (size_t j = 0; j < kHalfGroup; ++j) {
    const float radius = std::sqrt(-2.0f * static_cast<float>(portable_log(1.0f - group[j])));
    const float angle = kTwoPi * group[j + kHalfGroup];
    const SineCosine direction = portable_sincos(angle);
    group[j] = radius * static_cast<float>(direction.cosine);
    group[j + kHalfGroup] = radius * static_cast<float>(direction.sine);
  }
}

void transform_group_f64(double* group) {
  for (size_t j = 0; j < kHalfGroup; ++j) {
    const double radius = std::sqrt(-2.0 * portable_log(1.0 - group[j]));
    const SineCosine direction = portable_sincos(2.0 * std::numbers::pi * group[j + kHalfGroup]);
    group[j] = radius * direction.cosine;
    group[j + kHalfGroup] = radius * direction.sine;
  }
}

// The same where every intermediate result is a half.
void transform_group_in_halves(float* group) {
  for (size_t j = 0; j < kHalfGroup; ++j) {
    const float log_uniform = rounded_to_half(static_cast<float>(portable_log(rounded_to_half(1.0f - group[j]))));
    const float radius = rounded_to_half(std::sqrt(rounded_to_half(-2.0f * log_uniform)));
    const float angle = rounded_to_half(kTwoPi * group[j + kHalfGroup]);
    const SineCosine direction = portable_sincos(angle);
    group[j] = rounded_to_half(radius * rounded_to_half(static_cast<float>(direction.cosine)));
    group[j + kHalfGroup] = rounded_to_half(radius * rounded_to_half(static_cast<float>(direction.sine)));
  }
}

}  // namespace

TorchCpuNoise::TorchCpuNoise(uint64_t seed, NoisePrecision precision)
    : engine_(static_cast<uint32_t>(seed)), precision_(precision) {}

float TorchCpuNoise::uniform_float() {
  const int digits = precision_ == NoisePrecision::f16 ? kHalfDigits : kFloatDigits;
  const uint32_t bits = static_cast<uint32_t>(engine_()) & ((uint32_t{1} << digits) - 1);
  return std::ldexp(static_cast<float>(bits), -digits);
}

double TorchCpuNoise::uniform_double() {
  const uint64_t high = engine_();
  const uint64_t bits = (high << 32 | engine_()) & ((uint64_t{1} << kDoubleDigits) - 1);
  return std::ldexp(static_cast<double>(bits), -kDoubleDigits);
}

double TorchCpuNoise::one_normal() {
  if (waiting_) {
    const double value = *waiting_;
    waiting_.reset();
    return value;
  }
  const double angle = 2.0 * std::numbers::pi * uniform_double();
  const double radius = std::sqrt(-2.0 * portable_log(1.0 - uniform_double()));
  const SineCosine direction = portable_sincos(angle);
  waiting_ = radius * direction.sine;
  return radius * direction.cosine;
}

template <typename Number>
void TorchCpuNoise::fill_groups(std::span<Number> out, Number (TorchCpuNoise::*uniform)(), void (*transform)(Number*)) {
  for (Number& value : out) value = (this->*uniform)();
  for (size_t begin = 0; begin + kGroup <= out.size(); begin += kGroup) transform(out.data() + begin);
  if (out.size() % kGroup == 0) return;
  // A rest that fills no group: the last 16 elements are drawn once more.
  const std::span<Number> tail = out.last(kGroup);
  for (Number& value : tail) value = (this->*uniform)();
  transform(tail.data());
}

void TorchCpuNoise::normals(std::span<float> out) {
  const bool halves = precision_ == NoisePrecision::f16;
  if (out.size() >= kGroup) {
    return fill_groups<float>(out, &TorchCpuNoise::uniform_float,
                              halves ? transform_group_in_halves : transform_group_f32);
  }
  for (float& value : out) {
    value = static_cast<float>(one_normal());
    if (halves) value = rounded_to_half(value);
  }
}

void TorchCpuNoise::normals(std::span<double> out) {
  if (out.size() >= kGroup) return fill_groups<double>(out, &TorchCpuNoise::uniform_double, transform_group_f64);
  for (double& value : out) value = one_normal();
}

void TorchCpuNoise::uniforms(std::span<float> out) {
  for (float& value : out) value = uniform_float();
}

int64_t TorchCpuNoise::integer31() {
  return static_cast<int64_t>(engine_() & 0x7fffffffu);
}

}  // namespace dreamlab
