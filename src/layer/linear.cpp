#include "layer/linear.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "layer/lora.h"

namespace dreamlab {
namespace {

// Tensors of equal shape one below the other, in their own dtype where they share one.
HostTensor stack_rows(const std::vector<HostTensor>& parts) {
  const DType dtype =
      std::all_of(parts.begin(), parts.end(), [&](const HostTensor& part) { return part.dtype == parts[0].dtype; })
          ? parts[0].dtype
          : DType::f32;
  Shape shape = parts[0].shape;
  shape.set(0, shape[0] * static_cast<int64_t>(parts.size()));
  const size_t count = static_cast<size_t>(parts[0].shape.elements());
  auto bytes = std::make_shared<std::vector<std::byte>>(count * parts.size() * size_of(dtype));
  for (size_t i = 0; i < parts.size(); ++i) {
    std::byte* to = bytes->data() + i * count * size_of(dtype);
    if (parts[i].dtype == dtype)
      std::memcpy(to, parts[i].data, count * size_of(dtype));
    else
      convert_elements(parts[i].data, parts[i].dtype, to, dtype, count);
  }
  return {bytes->data(), dtype, shape, bytes};
}

HostTensor stacked(const LayerScope& scope, const std::vector<std::string>& parts, std::string_view tensor,
                   const Shape& shape) {
  std::vector<HostTensor> tensors;
  for (const std::string& part : parts) tensors.push_back((scope / part).weights.get(tensor, shape));
  return stack_rows(tensors);
}

}  // namespace

Linear::Linear(const LayerScope& scope, int64_t in, int64_t out, Bias bias) : name_(scope.name()) {
  const HostTensor weight = scope.weights.get("weight", {out, in});
  const std::optional<HostTensor> offsets =
      bias == Bias::present ? std::optional(scope.weights.get("bias", {out})) : std::nullopt;
  weights_ = scope.device.pack_linear(weight, offsets ? &*offsets : nullptr);
}

Tensor Linear::forward(const Context& context, const Tensor& x, Epilogue epilogue) const {
  const Tensor addend = addend_with_adapters(context, name_, x, epilogue);
  if (addend.defined()) epilogue.addend = &addend;
  return context.device.linear(x, *weights_, epilogue);
}

FusedLinear::FusedLinear(const LayerScope& scope, const std::vector<std::string>& parts, int64_t in, int64_t width,
                         Bias bias)
    : width_(width) {
  for (const std::string& part : parts) names_.push_back((scope / part).name());
  const HostTensor weight = stacked(scope, parts, "weight", {width, in});
  const std::optional<HostTensor> offsets =
      bias == Bias::present ? std::optional(stacked(scope, parts, "bias", {width})) : std::nullopt;
  weights_ = scope.device.pack_linear(weight, offsets ? &*offsets : nullptr);
}

Tensor FusedLinear::forward(const Context& context, const Tensor& x) const {
  Epilogue epilogue;
  const Tensor addend =
      context.loras == nullptr ? Tensor() : context.loras->addend_fused(context.device, names_, width_, x);
  if (addend.defined()) epilogue.addend = &addend;
  return context.device.linear(x, *weights_, epilogue);
}

}  // namespace dreamlab
