#include "model/rrdbnet.h"

#include <bit>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr float kResidualScale = 0.2f;  // of every dense block and of the three together
constexpr int64_t kDenseConvs = 5;

Epilogue leaky_relu() {
  Epilogue epilogue;
  epilogue.activation = Activation::leaky_relu;
  return epilogue;
}

LayerScope upscaler_scope(Device& device, const WeightSource& weights) {
  return {device, WeightScope(weights), "upscaler"};
}

}  // namespace

RrdbNet::RrdbNet(Device& device, const RrdbNetConfig& config, const WeightSource& weights)
    : config_(config),
      conv_first_(upscaler_scope(device, weights) / "conv_first",
                  config.in_channels * config.unshuffle * config.unshuffle, config.features),
      conv_body_(upscaler_scope(device, weights) / "conv_body", config.features, config.features),
      conv_hr_(upscaler_scope(device, weights) / "conv_hr", config.features, config.features),
      conv_last_(upscaler_scope(device, weights) / "conv_last", config.features, config.out_channels) {
  const LayerScope scope = upscaler_scope(device, weights);
  for (int64_t i = 0; i < config.blocks; ++i) {
    std::array<DenseBlock, 3> blocks;
    for (int64_t j = 0; j < 3; ++j) {
      const LayerScope dense = scope / "body" / i / ("rdb" + std::to_string(j + 1));
      for (int64_t k = 0; k < kDenseConvs; ++k)
        blocks[static_cast<size_t>(j)].emplace_back(dense / ("conv" + std::to_string(k + 1)),
                                                    config.features + k * config.growth,
                                                    k + 1 < kDenseConvs ? config.growth : config.features);
    }
    body_.push_back(std::move(blocks));
  }
  const int64_t doublings = std::bit_width(static_cast<uint64_t>(config.scale * config.unshuffle)) - 1;
  for (int64_t i = 0; i < doublings; ++i)
    conv_up_.emplace_back(scope / ("conv_up" + std::to_string(i + 1)), config.features, config.features);
}

Tensor RrdbNet::forward(const Context& context, const Tensor& pictures) const {
  if (pictures.shape().rank() != 4 || pictures.channels() != config_.in_channels || pictures.elements() == 0)
    fail(ErrorKind::invalid_argument, "pictures of {}; the upscaler takes [N, H, W, {}]", pictures.shape().to_string(),
         config_.in_channels);
  Device& device = context.device;
  const Tensor first = conv_first_.forward(context, unshuffle(context, pictures));
  Tensor x = first;
  for (const std::array<DenseBlock, 3>& blocks : body_) {
    context.check_cancelled();
    const Tensor before = x;
    for (const DenseBlock& block : blocks) x = dense_block(context, block, x);
    x = device.add(before, x, kResidualScale);
  }
  Epilogue trunk;
  trunk.residual = &first;
  x = conv_body_.forward(context, x, trunk);
  for (const Conv2d& conv : conv_up_) {
    context.check_cancelled();
    x = conv.forward(context, x, leaky_relu(), Size{2 * x.dim(2), 2 * x.dim(1)});
  }
  x = conv_hr_.forward(context, x, leaky_relu());
  return conv_last_.forward(context, x);
}

Tensor RrdbNet::dense_block(const Context& context, const DenseBlock& block, const Tensor& x) const {
  Tensor seen = x;
  for (size_t i = 0; i + 1 < block.size(); ++i)
    seen = context.device.concat_channels(seen, block[i].forward(context, seen, leaky_relu()));
  Epilogue last;
  last.scale = kResidualScale;
  last.residual = &x;
  return block.back().forward(context, seen, last);
}

// torch.nn.functional.pixel_unshuffle: channel c, row dy and column dx of a cell become channel (c * r + dy) * r + dx.
Tensor RrdbNet::unshuffle(const Context& context, const Tensor& pictures) const {
  Device& device = context.device;
  const int64_t r = config_.unshuffle, height = pictures.dim(1), width = pictures.dim(2), in = pictures.channels();
  if (r == 1) return device.cast(pictures, device.compute_dtype());
  if (height % r != 0 || width % r != 0)
    fail(ErrorKind::invalid_argument, "a picture of {}x{}; this upscaler takes multiples of {}", width, height, r);
  const std::vector<float> from = device.download(pictures);
  const Shape shape{pictures.dim(0), height / r, width / r, in * r * r};
  std::vector<float> to(from.size());
  size_t next = 0;
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t y = 0; y < shape[1]; ++y)
      for (int64_t x = 0; x < shape[2]; ++x)
        for (int64_t c = 0; c < in; ++c)
          for (int64_t dy = 0; dy < r; ++dy)
            for (int64_t dx = 0; dx < r; ++dx)
              to[next++] = from[static_cast<size_t>(((n * height + y * r + dy) * width + x * r + dx) * in + c)];
  return device.upload(to, shape);
}

}  // namespace dreamlab
