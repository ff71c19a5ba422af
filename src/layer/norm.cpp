#include "layer/norm.h"

namespace dreamlab {
namespace {

NormWeights load(const LayerScope& scope, int64_t channels, double eps) {
  return {scope.device.upload(scope.weights.get("weight", {channels}), DType::f32),
          scope.device.upload(scope.weights.get("bias", {channels}), DType::f32), static_cast<float>(eps)};
}

}  // namespace

GroupNorm::GroupNorm(const LayerScope& scope, int64_t channels, int64_t groups, double eps)
    : weights_(load(scope, channels, eps)), groups_(groups) {}

Tensor GroupNorm::forward(const Context& context, Tensor x, Activation activation) const {
  return context.device.group_norm(std::move(x), weights_, groups_, activation);
}

LayerNorm::LayerNorm(const LayerScope& scope, int64_t channels, double eps) : weights_(load(scope, channels, eps)) {}

Tensor LayerNorm::forward(const Context& context, const Tensor& x) const {
  return context.device.layer_norm(x, weights_);
}

}  // namespace dreamlab
