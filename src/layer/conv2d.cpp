#include "layer/conv2d.h"

#include "layer/lora.h"

namespace dreamlab {

Conv2d::Conv2d(const LayerScope& scope, int64_t in, int64_t out, ConvGeometry geometry, Bias bias)
    : name_(scope.name()) {
  const HostTensor weight = scope.weights.get("weight", {out, in, geometry.kernel, geometry.kernel});
  const std::optional<HostTensor> offsets =
      bias == Bias::present ? std::optional(scope.weights.get("bias", {out})) : std::nullopt;
  weights_ = scope.device.pack_conv(weight, offsets ? &*offsets : nullptr, geometry);
}

Tensor Conv2d::forward(const Context& context, const Tensor& x, Epilogue epilogue,
                       std::optional<Size> upsample_to) const {
  const Tensor addend = addend_with_adapters(context, name_, x, epilogue, upsample_to);
  if (addend.defined()) epilogue.addend = &addend;
  return context.device.conv2d(x, *weights_, epilogue, upsample_to);
}

}  // namespace dreamlab
