#include "layer/resnet.h"

namespace dreamlab {
namespace {

ConvGeometry halving(DownsamplePadding padding) {
  ConvGeometry geometry;
  geometry.stride = 2;
  if (padding == DownsamplePadding::right_and_bottom) geometry.pad_before = 0;
  return geometry;
}

}  // namespace

ResnetBlock::ResnetBlock(const LayerScope& scope, const ResnetDims& dims)
    : group_(scope.device, WeightGroupKind::block),
      norm1_(scope / "norm1", dims.in, dims.groups, dims.eps),
      conv1_(scope / "conv1", dims.in, dims.out),
      norm2_(scope / "norm2", dims.out, dims.groups, dims.eps),
      conv2_(scope / "conv2", dims.out, dims.out) {
  if (dims.time_channels > 0) time_emb_proj_.emplace(scope / "time_emb_proj", dims.time_channels, dims.out);
  if (dims.in != dims.out) conv_shortcut_.emplace(scope / "conv_shortcut", dims.in, dims.out);
  group_.packed();
}

Tensor ResnetBlock::forward(const Context& context, Tensor x, const Tensor& time) const {
  context.check_cancelled();
  const LayerGroup::Use use = group_.use();
  Epilogue first;
  Tensor time_bias;
  if (time_emb_proj_) {
    time_bias = time_emb_proj_->forward(context, time);
    first.image_bias = &time_bias;
  }
  // First, so that the norm may take the place of x.
  const Tensor residual = conv_shortcut_ ? conv_shortcut_->forward(context, x) : x;
  Tensor hidden = norm1_.forward(context, std::move(x), Activation::silu);
  hidden = conv1_.forward(context, hidden, first);
  hidden = norm2_.forward(context, std::move(hidden), Activation::silu);
  Epilogue second;
  second.residual = &residual;
  return conv2_.forward(context, hidden, second);
}

Downsample::Downsample(const LayerScope& scope, int64_t channels, DownsamplePadding padding)
    : conv_(scope / "conv", channels, channels, halving(padding)) {}

Tensor Downsample::forward(const Context& context, const Tensor& x) const {
  return conv_.forward(context, x);
}

Upsample::Upsample(const LayerScope& scope, int64_t channels)
    : conv_(scope / "conv", channels, channels, {.enlarges = true}) {}

Tensor Upsample::forward(const Context& context, const Tensor& x, std::optional<Size> size) const {
  return conv_.forward(context, x, {}, size.value_or(Size{2 * x.dim(2), 2 * x.dim(1)}));
}

}  // namespace dreamlab
