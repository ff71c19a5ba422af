#include "layer/timestep_embedding.h"

#include <cmath>

namespace dreamlab {
namespace {

constexpr double kLongestPeriod = 10000.0;

// f32 where PyTorch has f32: the product of value and frequency decides the phase of large values.
std::vector<float> frequencies(int64_t count, double denominator) {
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(std::exp(static_cast<float>(-std::log(kLongestPeriod)) * static_cast<float>(i) /
                           static_cast<float>(denominator)));
  return out;
}

}  // namespace

std::vector<float> sinusoidal_embedding(std::span<const float> values, int64_t dim, const SinusoidOptions& options) {
  const int64_t half = dim / 2;
  const std::vector<float> rates = frequencies(half, static_cast<double>(half) - options.freq_shift);
  std::vector<float> out(values.size() * static_cast<size_t>(dim));
  for (size_t row = 0; row < values.size(); ++row) {
    float* first = out.data() + static_cast<int64_t>(row) * dim;
    float* sines = options.flip_sin_to_cos ? first + half : first;
    float* cosines = options.flip_sin_to_cos ? first : first + half;
    for (int64_t i = 0; i < half; ++i) {
      sines[i] = std::sin(values[row] * rates[i]);
      cosines[i] = std::cos(values[row] * rates[i]);
    }
  }
  return out;
}

std::vector<float> guidance_scale_embedding(std::span<const float> w, int64_t dim) {
  std::vector<float> scaled;
  for (const float value : w) scaled.push_back(1000.0f * value);
  return sinusoidal_embedding(scaled, dim, {.flip_sin_to_cos = false, .freq_shift = 1});
}

TimestepEmbedding::TimestepEmbedding(const LayerScope& scope, int64_t in, int64_t out, int64_t condition_channels)
    : linear_1_(scope / "linear_1", in, out), linear_2_(scope / "linear_2", out, out) {
  if (condition_channels > 0) cond_proj_.emplace(scope / "cond_proj", condition_channels, in, Bias::none);
}

Tensor TimestepEmbedding::forward(const Context& context, const Tensor& x, const Tensor& condition) const {
  Epilogue add_x, silu;
  add_x.residual = &x;
  silu.activation = Activation::silu;
  const Tensor start = condition.defined() && cond_proj_ ? cond_proj_->forward(context, condition, add_x) : x;
  return linear_2_.forward(context, linear_1_.forward(context, start, silu));
}

}  // namespace dreamlab
