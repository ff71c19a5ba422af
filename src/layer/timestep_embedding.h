#pragma once

#include <optional>
#include <span>
#include <vector>

#include "layer/linear.h"

namespace dreamlab {

struct SinusoidOptions {
  bool flip_sin_to_cos = true;  // cosines first
  double freq_shift = 0;
};

// Sines and cosines of each value at dim/2 frequencies from 1 down to 1/10000 (diffusers' get_timestep_embedding):
// values.size() rows of `dim`. An odd dim ends with a zero.
std::vector<float> sinusoidal_embedding(std::span<const float> values, int64_t dim,
                                        const SinusoidOptions& options = {});

// The embedding of a guidance scale that LCM-distilled UNets take (diffusers' get_guidance_scale_embedding).
// w: guidance scale - 1, of each image; result: w.size() rows of `dim`, at least 4. An odd dim ends with a zero.
std::vector<float> guidance_scale_embedding(std::span<const float> w, int64_t dim);

// linear_2(silu(linear_1(x + cond_proj(condition))))
class TimestepEmbedding {
 public:
  // condition_channels: width of the guidance embedding; 0: a network without one.
  TimestepEmbedding(const LayerScope& scope, int64_t in, int64_t out, int64_t condition_channels = 0);

  // x [N, in] to [N, out]. condition [N, condition_channels]; undefined: none.
  Tensor forward(const Context& context, const Tensor& x, const Tensor& condition = {}) const;

 private:
  std::optional<Linear> cond_proj_;
  Linear linear_1_, linear_2_;
};

}  // namespace dreamlab
