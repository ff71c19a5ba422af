#include "model/taesd.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr float kLatentMagnitude = 3.0f;  // latents are squashed into this range before decoding

using Step = TaesdNetwork::Step;

// Numbers the modules of a row of layers.
class Steps {
 public:
  explicit Steps(LayerScope layers) : layers_(std::move(layers)) {}

  std::vector<Step> steps;

  // A module without weights: it counts, but does nothing of its own here.
  void skip() { ++index_; }

  void conv(int64_t in, int64_t out, Bias bias, int64_t stride = 1, Activation activation = Activation::none) {
    ConvGeometry geometry;
    geometry.stride = stride;
    add(Step::Kind::conv, Conv2d(layers_ / index_++, in, out, geometry, bias), activation);
  }

  void upsample_conv(int64_t in, int64_t out) {
    skip();  // the enlarging is a module of its own
    add(Step::Kind::upsample_conv, Conv2d(layers_ / index_++, in, out, {}, Bias::none), Activation::none);
  }

  void blocks(int64_t count, int64_t channels) {
    for (int64_t i = 0; i < count; ++i) {
      const LayerScope block = layers_ / index_++ / "conv";
      Step step{Step::Kind::block, {}, Activation::relu};
      for (const int64_t conv : {0, 2, 4}) step.convs.emplace_back(block / conv, channels, channels);
      steps.push_back(std::move(step));
    }
  }

 private:
  void add(Step::Kind kind, Conv2d conv, Activation activation) {
    Step step{kind, {}, activation};
    step.convs.push_back(std::move(conv));
    steps.push_back(std::move(step));
  }

  LayerScope layers_;
  int64_t index_ = 0;
};

LayerScope taesd_scope(Device& device, const WeightSource& weights, std::string_view half) {
  return LayerScope{device, WeightScope(weights), "taesd"} / half / "layers";
}

std::vector<Step> decoder_steps(Device& device, const TaesdConfig& config, const WeightSource& weights) {
  Steps steps(taesd_scope(device, weights, "decoder"));
  const std::vector<int64_t>& channels = config.decoder_block_out_channels;
  steps.conv(config.latent_channels, channels[0], Bias::present, 1, Activation::relu);
  steps.skip();  // that activation
  for (size_t i = 0; i + 1 < channels.size(); ++i) {
    steps.blocks(config.num_decoder_blocks[i], channels[i]);
    steps.upsample_conv(channels[i], channels[i]);
  }
  steps.blocks(config.num_decoder_blocks.back(), channels.back());
  steps.conv(channels.back(), config.out_channels, Bias::present);
  return std::move(steps.steps);
}

std::vector<Step> encoder_steps(Device& device, const TaesdConfig& config, const WeightSource& weights) {
  Steps steps(taesd_scope(device, weights, "encoder"));
  const std::vector<int64_t>& channels = config.encoder_block_out_channels;
  steps.conv(config.in_channels, channels[0], Bias::present);
  steps.blocks(config.num_encoder_blocks[0], channels[0]);
  for (size_t i = 1; i < channels.size(); ++i) {
    steps.conv(channels[i], channels[i], Bias::none, 2);
    steps.blocks(config.num_encoder_blocks[i], channels[i]);
  }
  steps.conv(channels.back(), config.latent_channels, Bias::present);
  return std::move(steps.steps);
}

void check_input(const Tensor& x, int64_t channels, std::string_view what) {
  if (x.shape().rank() != 4 || x.channels() != channels || x.elements() == 0)
    fail(ErrorKind::invalid_argument, "{} of {}; the tiny autoencoder takes [N, H, W, {}]", what, x.shape().to_string(),
         channels);
}

// Each value through `function`, on the host: what goes in here is small.
template <typename Function>
Tensor map_values(Device& device, const Tensor& x, Function function) {
  std::vector<float> values = device.download(x);
  for (float& value : values) value = function(value);
  return device.upload(values, x.shape());
}

// relu(x + conv(relu(conv(relu(conv(x))))))
Tensor run_block(const Context& context, const std::vector<Conv2d>& convs, const Tensor& x) {
  Epilogue inner, last;
  inner.activation = last.activation = Activation::relu;
  last.addend = &x;
  const Tensor hidden = convs[1].forward(context, convs[0].forward(context, x, inner), inner);
  return convs[2].forward(context, hidden, last);
}

}  // namespace

Tensor TaesdNetwork::forward(const Context& context, Tensor x, const Epilogue& last) const {
  for (const Step& step : steps_) {
    context.check_cancelled();
    Epilogue epilogue = &step == &steps_.back() ? last : Epilogue{};
    if (epilogue.activation == Activation::none) epilogue.activation = step.activation;
    switch (step.kind) {
      case Step::Kind::conv:
        x = step.convs[0].forward(context, x, epilogue);
        break;
      case Step::Kind::block:
        x = run_block(context, step.convs, x);
        break;
      case Step::Kind::upsample_conv:
        x = step.convs[0].forward(context, x, epilogue, Size{2 * x.dim(2), 2 * x.dim(1)});
        break;
    }
  }
  return x;
}

TaesdDecoder::TaesdDecoder(Device& device, const TaesdConfig& config, const WeightSource& weights)
    : config_(config), network_(decoder_steps(device, config, weights)) {}

Tensor TaesdDecoder::decode(const Context& context, const Tensor& latents) const {
  check_input(latents, config_.latent_channels, "latents");
  const Tensor squashed = map_values(
      context.device, latents, [](float value) { return kLatentMagnitude * std::tanh(value / kLatentMagnitude); });
  // The network gives 0..1: 2 x - 1 in the last convolution's epilogue.
  const Shape shape{latents.dim(0), config_.out_channels};
  const Tensor minus_one =
      context.device.upload(std::vector<float>(static_cast<size_t>(shape.elements()), -1.0f), shape);
  Epilogue to_signed;
  to_signed.scale = 2.0f;
  to_signed.image_bias = &minus_one;
  return network_.forward(context, squashed, to_signed);
}

TaesdEncoder::TaesdEncoder(Device& device, const TaesdConfig& config, const WeightSource& weights)
    : config_(config), network_(encoder_steps(device, config, weights)) {}

Tensor TaesdEncoder::encode(const Context& context, const Tensor& pictures) const {
  check_input(pictures, config_.in_channels, "pictures");
  const Tensor unsigned_pictures =
      map_values(context.device, pictures, [](float value) { return 0.5f * (value + 1.0f); });
  return network_.forward(context, unsigned_pictures);
}

}  // namespace dreamlab
