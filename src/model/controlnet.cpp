#include "model/controlnet.h"

#include "base/error.h"

namespace dreamlab {
namespace {

ConvGeometry halving() {
  ConvGeometry geometry;
  geometry.stride = 2;
  return geometry;
}

// ControlNetConditioningEmbedding: pairs of convolutions, the second of each halving the size.
std::vector<Conv2d> make_condition_convs(const LayerScope& scope, const ControlNetConfig& config) {
  const std::vector<int64_t>& channels = config.conditioning_embedding_out_channels;
  std::vector<Conv2d> convs;
  convs.emplace_back(scope / "conv_in", config.conditioning_channels, channels.front());
  for (size_t i = 0; i + 1 < channels.size(); ++i) {
    const auto block = static_cast<int64_t>(2 * i);
    convs.emplace_back(scope / "blocks" / block, channels[i], channels[i]);
    convs.emplace_back(scope / "blocks" / (block + 1), channels[i], channels[i + 1], halving());
  }
  convs.emplace_back(scope / "conv_out", channels.back(), config.unet.block_out_channels[0]);
  return convs;
}

}  // namespace

ControlNet::ControlNet(Device& device, const ControlNetConfig& config, const WeightSource& weights,
                       const std::string& name)
    : config_(config),
      encoder_(LayerScope{device, WeightScope(weights), name}, config.unet),
      condition_convs_(
          make_condition_convs(LayerScope{device, WeightScope(weights), name} / "controlnet_cond_embedding", config)),
      controlnet_mid_block_(LayerScope{device, WeightScope(weights), name} / "controlnet_mid_block",
                            config.unet.block_out_channels.back(), config.unet.block_out_channels.back()) {
  const LayerScope scope{device, WeightScope(weights), name};
  const std::vector<int64_t> channels = UNetEncoder::skip_channels(config.unet);
  for (size_t i = 0; i < channels.size(); ++i)
    controlnet_down_blocks_.emplace_back(scope / "controlnet_down_blocks" / static_cast<int64_t>(i), channels[i],
                                         channels[i]);
}

TextContext ControlNet::project_text(const Context& context, const Tensor& encoder_hidden_states) const {
  const Shape& shape = encoder_hidden_states.shape();
  if (shape.rank() != 3 || shape[2] != config_.unet.cross_attention_dim)
    fail(ErrorKind::invalid_argument, "text states of {}; the ControlNet takes [N, tokens, {}]", shape.to_string(),
         config_.unet.cross_attention_dim);
  TextContext text{shape[0], {}};
  encoder_.project_text(context, context.device.cast(encoder_hidden_states, context.device.compute_dtype()),
                        text.keys_values);
  return text;
}

Tensor ControlNet::embed_condition(const Context& context, const Tensor& picture) const {
  if (picture.shape().rank() != 4 || picture.channels() != config_.conditioning_channels)
    fail(ErrorKind::invalid_argument, "a condition picture of {}; the ControlNet takes [N, H, W, {}]",
         picture.shape().to_string(), config_.conditioning_channels);
  Epilogue silu;
  silu.activation = Activation::silu;
  Tensor x = context.device.cast(picture, context.device.compute_dtype());
  for (const Conv2d& conv : condition_convs_)
    x = conv.forward(context, x, &conv == &condition_convs_.back() ? Epilogue{} : silu);
  if (context.tap) context.tap("controlnet_cond_embedding", x);
  return x;
}

ControlResiduals ControlNet::forward(const Context& context, const ControlNetInput& input) const {
  const UNetEncoder::Input encoder_input{input.sample, input.timesteps, input.added, {}};
  check_unet_inputs(config_.unet, encoder_input, input.text);
  Shape condition = input.sample.shape();
  condition.set(-1, config_.unet.block_out_channels[0]);
  if (input.condition.shape() != condition)
    fail(ErrorKind::invalid_argument, "a condition of {} for latents of {}: the picture must have 8 times their size",
         input.condition.shape().to_string(), input.sample.shape().to_string());
  std::span<const Tensor> keys_values = input.text->keys_values;
  const UNetEncoder::State state =
      encoder_.forward(context, input.sample, encoder_.embed(context, encoder_input), &input.condition, keys_values);

  Epilogue scaled;
  scaled.scale = input.scale;
  ControlResiduals residuals;
  for (size_t i = 0; i < state.skips.size(); ++i)
    residuals.down.push_back(controlnet_down_blocks_[i].forward(context, state.skips[i], scaled));
  residuals.mid = controlnet_mid_block_.forward(context, state.x, scaled);
  return residuals;
}

}  // namespace dreamlab
