#include "model/unet.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "layer/lora.h"

namespace dreamlab {
namespace {

void check_residual(const Tensor& residual, const Tensor& target, std::string_view place) {
  if (residual.shape() != target.shape())
    fail(ErrorKind::invalid_argument, "the ControlNet's residual of {} is {}, the UNet has {}", place,
         residual.shape().to_string(), target.shape().to_string());
}

void add_residuals(Device& device, UNetEncoder::State& state, const ControlResiduals& residuals) {
  if (residuals.down.size() != state.skips.size())
    fail(ErrorKind::invalid_argument, "a ControlNet with {} residuals for a UNet with {} skip connections",
         residuals.down.size(), state.skips.size());
  for (size_t i = 0; i < state.skips.size(); ++i) {
    check_residual(residuals.down[i], state.skips[i], fmt::format("skip connection {}", i));
    state.skips[i] = device.add(state.skips[i], residuals.down[i]);
  }
  check_residual(residuals.mid, state.x, "the middle block");
  state.x = device.add(state.x, residuals.mid);
}

}  // namespace

void ControlResiduals::add(Device& device, const ControlResiduals& other) {
  if (other.down.size() != down.size())
    fail(ErrorKind::invalid_argument, "ControlNets with {} and {} residuals do not go together", down.size(),
         other.down.size());
  for (size_t i = 0; i < down.size(); ++i) {
    check_residual(other.down[i], down[i], fmt::format("skip connection {}", i));
    down[i] = device.add(down[i], other.down[i]);
  }
  check_residual(other.mid, mid, "the middle block");
  mid = device.add(mid, other.mid);
}

UNet::UNet(Device& device, const UNetConfig& config, const WeightSource& weights, const std::string& name)
    : id_(device.new_id()),
      config_(config),
      encoder_(LayerScope{device, WeightScope(weights), name}, config),
      conv_norm_out_(LayerScope{device, WeightScope(weights), name} / "conv_norm_out", config.block_out_channels[0],
                     config.norm_num_groups, config.norm_eps),
      conv_out_(LayerScope{device, WeightScope(weights), name} / "conv_out", config.block_out_channels[0],
                config.out_channels) {
  const LayerScope scope{device, WeightScope(weights), name};
  std::vector<int64_t> skip_channels = UNetEncoder::skip_channels(config);
  for (int64_t i = 0; i < static_cast<int64_t>(config.block_out_channels.size()); ++i)
    up_blocks_.emplace_back(scope / "up_blocks" / i, config, i, skip_channels);
}

TextContext UNet::project_text(const Context& context, const Tensor& encoder_hidden_states) const {
  const Shape& shape = encoder_hidden_states.shape();
  if (shape.rank() != 3 || shape[2] != config_.cross_attention_dim)
    fail(ErrorKind::invalid_argument, "text states of {}; the UNet takes [N, tokens, {}]", shape.to_string(),
         config_.cross_attention_dim);
  TextContext text{shape[0], {}};
  const Tensor states = context.device.cast(encoder_hidden_states, context.device.compute_dtype());
  encoder_.project_text(context, states, text.keys_values);
  for (const UpBlock& block : up_blocks_) block.project_text(context, states, text.keys_values);
  return text;
}

Tensor UNet::forward(const Context& context, const UNetInput& input) const {
  const UNetEncoder::Input encoder_input{input.sample, input.timesteps, input.added, input.guidance_embedding};
  check_unet_inputs(config_, encoder_input, input.text);
  const Tensor time = encoder_.embed(context, encoder_input);
  // Who looks at intermediate results, or adds to them, needs them made anew each time.
  if (context.tap || input.control_residuals != nullptr)
    return compute(context, input.sample, time, input.text->keys_values, input.control_residuals);
  std::vector<Tensor> inputs = {input.sample, time};
  inputs.insert(inputs.end(), input.text->keys_values.begin(), input.text->keys_values.end());
  const std::string key = fmt::format("unet {} {}", id_, context.loras == nullptr ? "" : context.loras->key());
  return context.device.repeat(key, inputs, [&](std::span<const Tensor> tensors) {
    return compute(context, tensors[0], tensors[1], tensors.subspan(2), nullptr);
  });
}

Tensor UNet::compute(const Context& context, const Tensor& sample, const Tensor& time,
                     std::span<const Tensor> keys_values, const ControlResiduals* residuals) const {
  UNetEncoder::State state = encoder_.forward(context, sample, time, nullptr, keys_values);
  if (residuals != nullptr) add_residuals(context.device, state, *residuals);

  Tensor x = std::move(state.x);
  for (size_t i = 0; i < up_blocks_.size(); ++i) {
    x = up_blocks_[i].forward(context, std::move(x), state.time, keys_values, state.skips);
    if (context.tap) context.tap(fmt::format("up_blocks.{}", i), x);
  }
  if (context.tap) context.tap("conv_norm_out", conv_norm_out_.forward(context, x));
  x = conv_norm_out_.forward(context, std::move(x), Activation::silu);
  return conv_out_.forward(context, x);
}

}  // namespace dreamlab
