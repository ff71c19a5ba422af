#pragma once

#include "layer/context.h"
#include "layer/layer_scope.h"

namespace dreamlab {

// Group normalization of [N, H, W, C] or [N, T, C] ("Group Normalization", Wu and He 2018).
class GroupNorm {
 public:
  GroupNorm(const LayerScope& scope, int64_t channels, int64_t groups, double eps);
  // In the place of x where that is given away.
  Tensor forward(const Context& context, Tensor x, Activation activation = Activation::none) const;

 private:
  NormWeights weights_;
  int64_t groups_;
};

// Layer normalization over the channels.
class LayerNorm {
 public:
  LayerNorm(const LayerScope& scope, int64_t channels, double eps = 1e-5);
  Tensor forward(const Context& context, const Tensor& x) const;

 private:
  NormWeights weights_;
};

}  // namespace dreamlab
