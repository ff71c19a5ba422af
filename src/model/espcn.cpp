#include "model/espcn.h"

#include "base/error.h"

namespace dreamlab {

Espcn::Espcn(Device& device, const EspcnConfig& config, const WeightSource& weights) : config_(config) {
  const LayerScope scope{device, WeightScope(weights), "upscaler"};
  int64_t in = 1;
  for (size_t i = 0; i < config.kernels.size(); ++i) {
    const int64_t out = i < config.features.size() ? config.features[i] : config.scale * config.scale;
    const int64_t pad = config.kernels[i] / 2;
    convs_.emplace_back(scope / ("conv" + std::to_string(i + 1)), in, out,
                        ConvGeometry{config.kernels[i], 1, pad, pad});
    in = out;
  }
}

Tensor Espcn::forward(const Context& context, const Tensor& luminance) const {
  if (luminance.shape().rank() != 4 || luminance.channels() != 1 || luminance.elements() == 0)
    fail(ErrorKind::invalid_argument, "luminance of {}; the upscaler takes [N, H, W, 1]",
         luminance.shape().to_string());
  Epilogue hidden, last;
  hidden.activation = config_.hidden == EspcnConfig::Hidden::tanh ? Activation::tanh : Activation::relu;
  if (config_.sigmoid_output) last.activation = Activation::sigmoid;
  Tensor x = context.device.cast(luminance, context.device.compute_dtype());
  for (size_t i = 0; i < convs_.size(); ++i) x = convs_[i].forward(context, x, i + 1 < convs_.size() ? hidden : last);
  return shuffle(context, x);
}

Tensor Espcn::shuffle(const Context& context, const Tensor& channels) const {
  Device& device = context.device;
  const int64_t r = config_.scale, height = channels.dim(1), width = channels.dim(2);
  const std::vector<float> from = device.download(channels);
  std::vector<float> to(from.size());
  size_t next = 0;
  for (int64_t row = 0; row < channels.dim(0) * height; ++row)
    for (int64_t dy = 0; dy < r; ++dy)
      for (int64_t x = 0; x < width; ++x)
        for (int64_t dx = 0; dx < r; ++dx)
          to[next++] = from[static_cast<size_t>(((row * width + x) * r + dy) * r + dx)];
  return device.upload(to, Shape{channels.dim(0), r * height, r * width, 1});
}

int64_t reach_of(const EspcnConfig& config) {
  int64_t reach = 0;
  for (const int64_t kernel : config.kernels) reach += kernel / 2;
  return reach;
}

}  // namespace dreamlab
