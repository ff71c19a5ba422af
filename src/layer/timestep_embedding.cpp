#include "layer/timestep_embedding.h"

#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr double kLongestPeriod = 10000.0;

// Sines and cosines are of large angles: everything up to them is in f32 and in diffusers' order, since the rounding of
// a frequency shows in the phase.

// One row of sines and cosines per value.
std::vector<float> waves(std::span<const float> values, std::span<const float> frequencies, int64_t dim,
                         bool cosines_first) {
  const auto half = static_cast<int64_t>(frequencies.size());
  std::vector<float> out(values.size() * static_cast<size_t>(dim));
  for (size_t row = 0; row < values.size(); ++row) {
    float* first = out.data() + static_cast<int64_t>(row) * dim;
    float* sines = cosines_first ? first + half : first;
    float* cosines = cosines_first ? first : first + half;
    for (int64_t i = 0; i < half; ++i) {
      const float angle = values[row] * frequencies[static_cast<size_t>(i)];
      sines[i] = std::sin(angle);
      cosines[i] = std::cos(angle);
    }
  }
  return out;
}

}  // namespace

std::vector<float> sinusoidal_embedding(std::span<const float> values, int64_t dim, const SinusoidOptions& options) {
  const int64_t half = dim / 2;
  const auto divisor = static_cast<float>(static_cast<double>(half) - options.freq_shift);
  std::vector<float> frequencies;
  for (int64_t i = 0; i < half; ++i)
    frequencies.push_back(std::exp(static_cast<float>(-std::log(kLongestPeriod)) * static_cast<float>(i) / divisor));
  return waves(values, frequencies, dim, options.flip_sin_to_cos);
}

std::vector<float> guidance_scale_embedding(std::span<const float> w, int64_t dim) {
  const int64_t half = dim / 2;
  if (half < 2) fail(ErrorKind::invalid_argument, "guidance embedding: {} numbers, at least 4 are needed", dim);
  const float step = static_cast<float>(std::log(kLongestPeriod)) / static_cast<float>(half - 1);
  std::vector<float> frequencies, scaled;
  for (int64_t i = 0; i < half; ++i) frequencies.push_back(std::exp(static_cast<float>(i) * -step));
  for (const float value : w) scaled.push_back(1000.0f * value);
  return waves(scaled, frequencies, dim, false);
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
