#include "model/unet_blocks.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr int64_t kTimeEmbeddingFactor = 4;

int64_t time_channels(const UNetConfig& config) {
  return kTimeEmbeddingFactor * config.block_out_channels[0];
}

int64_t levels(const UNetConfig& config) {
  return static_cast<int64_t>(config.block_out_channels.size());
}

// The transformer after a resnet of `level`, whose module is `scope`.
Transformer2D make_transformer(const LayerScope& scope, const UNetConfig& config, int64_t level, int64_t depth) {
  const auto index = static_cast<size_t>(level);
  return Transformer2D(scope, config.block_out_channels[index], config.cross_attention_dim, config.heads[index], depth,
                       config.norm_num_groups);
}

ResnetDims resnet_dims(const UNetConfig& config, int64_t in, int64_t out) {
  return {in, out, time_channels(config), config.norm_num_groups, config.norm_eps};
}

SinusoidOptions sinusoid_options(const UNetConfig& config) {
  return {config.flip_sin_to_cos, config.freq_shift};
}

Size size_of_image(const Tensor& x) {
  return {x.dim(2), x.dim(1)};
}

}  // namespace

ConditionEmbedding::ConditionEmbedding(const LayerScope& scope, const UNetConfig& config)
    : config_(config),
      time_embedding_(scope / "time_embedding", config.block_out_channels[0], time_channels(config),
                      config.time_cond_proj_dim) {
  if (config.addition_time_embed_dim > 0)
    add_embedding_.emplace(scope / "add_embedding", config.projection_class_embeddings_input_dim,
                           time_channels(config));
}

Tensor ConditionEmbedding::forward(const Context& context, std::span<const float> timesteps,
                                   const AddedConditions& added, std::span<const float> guidance_embedding) const {
  Device& device = context.device;
  const int64_t images = static_cast<int64_t>(timesteps.size()), width = config_.block_out_channels[0];
  const Tensor sinusoid =
      device.upload(sinusoidal_embedding(timesteps, width, sinusoid_options(config_)), Shape{images, width});
  const Tensor guidance = guidance_embedding.empty()
                              ? Tensor()
                              : device.upload(guidance_embedding, Shape{images, config_.time_cond_proj_dim});
  Tensor embedding = time_embedding_.forward(context, sinusoid, guidance);
  if (context.tap) context.tap("time_embedding", embedding);
  if (add_embedding_) embedding = device.add(embedding, embed_added(context, images, added));
  return device.activate(embedding, Activation::silu);
}

Tensor ConditionEmbedding::embed_added(const Context& context, int64_t images, const AddedConditions& added) const {
  Device& device = context.device;
  const int64_t dim = config_.addition_time_embed_dim;
  const int64_t numbers = static_cast<int64_t>(added.time_ids.size()) / images;
  const Tensor sizes =
      device.upload(sinusoidal_embedding(added.time_ids, dim, sinusoid_options(config_)), Shape{images, numbers * dim});
  const Tensor pooled = device.cast(added.pooled, device.compute_dtype());
  Tensor embedding = add_embedding_->forward(context, device.concat_channels(pooled, sizes));
  if (context.tap) context.tap("add_embedding", embedding);
  return embedding;
}

DownBlock::DownBlock(const LayerScope& scope, const UNetConfig& config, int64_t level) : path_(scope.weights.path()) {
  const auto index = static_cast<size_t>(level);
  const int64_t out = config.block_out_channels[index];
  int64_t in = level == 0 ? out : config.block_out_channels[index - 1];
  for (int64_t i = 0; i < config.layers_per_block; ++i) {
    resnets_.emplace_back(scope / "resnets" / i, resnet_dims(config, in, out));
    in = out;
    if (config.transformer_layers[index] > 0)
      attentions_.push_back(
          make_transformer(scope / "attentions" / i, config, level, config.transformer_layers[index]));
  }
  if (level + 1 < levels(config)) downsampler_.emplace(scope / "downsamplers.0", out, DownsamplePadding::both_sides);
}

void DownBlock::project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const {
  for (const Transformer2D& attention : attentions_) attention.project_text(context, text, keys_values);
}

Tensor DownBlock::forward(const Context& context, Tensor x, const Tensor& time, std::span<const Tensor>& keys_values,
                          std::vector<Tensor>& skips) const {
  const size_t first_skip = skips.size();
  for (size_t i = 0; i < resnets_.size(); ++i) {
    x = resnets_[i].forward(context, std::move(x), time);
    if (!attentions_.empty()) x = attentions_[i].forward(context, x, keys_values);
    skips.push_back(x);
  }
  if (downsampler_) {
    x = downsampler_->forward(context, x);
    skips.push_back(x);
  }
  if (context.tap) {
    for (size_t i = first_skip; i < skips.size(); ++i)
      context.tap(fmt::format("{}.res.{}", path_, i - first_skip), skips[i]);
    context.tap(path_, x);
  }
  return x;
}

MidBlock::MidBlock(const LayerScope& scope, const UNetConfig& config) {
  const int64_t channels = config.block_out_channels.back();
  for (int64_t i = 0; i < 2; ++i) resnets_.emplace_back(scope / "resnets" / i, resnet_dims(config, channels, channels));
  if (config.mid_transformer_layers > 0)
    attention_.emplace(
        make_transformer(scope / "attentions.0", config, levels(config) - 1, config.mid_transformer_layers));
}

void MidBlock::project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const {
  if (attention_) attention_->project_text(context, text, keys_values);
}

Tensor MidBlock::forward(const Context& context, Tensor x, const Tensor& time,
                         std::span<const Tensor>& keys_values) const {
  x = resnets_[0].forward(context, std::move(x), time);
  if (attention_) x = attention_->forward(context, x, keys_values);
  x = resnets_[1].forward(context, std::move(x), time);
  if (context.tap) context.tap("mid_block", x);
  return x;
}

UpBlock::UpBlock(const LayerScope& scope, const UNetConfig& config, int64_t index,
                 std::vector<int64_t>& skip_channels) {
  const int64_t level = levels(config) - 1 - index;
  const auto at = static_cast<size_t>(level);
  const int64_t out = config.block_out_channels[at];
  int64_t in = index == 0 ? out : config.block_out_channels[at + 1];
  for (int64_t i = 0; i <= config.layers_per_block; ++i) {
    resnets_.emplace_back(scope / "resnets" / i, resnet_dims(config, in + skip_channels.back(), out));
    skip_channels.pop_back();
    in = out;
    if (config.transformer_layers[at] > 0)
      attentions_.push_back(make_transformer(scope / "attentions" / i, config, level, config.transformer_layers[at]));
  }
  if (level > 0) upsampler_.emplace(scope / "upsamplers.0", out);
}

void UpBlock::project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const {
  for (const Transformer2D& attention : attentions_) attention.project_text(context, text, keys_values);
}

Tensor UpBlock::forward(const Context& context, Tensor x, const Tensor& time, std::span<const Tensor>& keys_values,
                        std::vector<Tensor>& skips) const {
  for (size_t i = 0; i < resnets_.size(); ++i) {
    x = context.device.concat_channels(x, skips.back());
    skips.pop_back();
    x = resnets_[i].forward(context, std::move(x), time);
    if (!attentions_.empty()) x = attentions_[i].forward(context, x, keys_values);
  }
  if (upsampler_) x = upsampler_->forward(context, x, size_of_image(skips.back()));
  return x;
}

UNetEncoder::UNetEncoder(const LayerScope& scope, const UNetConfig& config)
    : config_(config),
      embedding_(scope, config),
      conv_in_(scope / "conv_in", config.in_channels, config.block_out_channels[0]),
      mid_block_(scope / "mid_block", config) {
  for (int64_t level = 0; level < levels(config); ++level)
    down_blocks_.emplace_back(scope / "down_blocks" / level, config, level);
}

void UNetEncoder::project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const {
  for (const DownBlock& block : down_blocks_) block.project_text(context, text, keys_values);
  mid_block_.project_text(context, text, keys_values);
}

Tensor UNetEncoder::embed(const Context& context, const Input& input) const {
  return embedding_.forward(context, input.timesteps, input.added, input.guidance_embedding);
}

UNetEncoder::State UNetEncoder::forward(const Context& context, const Tensor& sample, const Tensor& time,
                                        const Tensor* addend, std::span<const Tensor>& keys_values) const {
  State state;
  state.time = time;
  Epilogue epilogue;
  epilogue.addend = addend;
  state.x = conv_in_.forward(context, context.device.cast(sample, context.device.compute_dtype()), epilogue);
  if (context.tap) context.tap("conv_in", state.x);
  state.skips.push_back(state.x);
  for (const DownBlock& block : down_blocks_)
    state.x = block.forward(context, std::move(state.x), state.time, keys_values, state.skips);
  state.x = mid_block_.forward(context, std::move(state.x), state.time, keys_values);
  return state;
}

std::vector<int64_t> UNetEncoder::skip_channels(const UNetConfig& config) {
  std::vector<int64_t> out = {config.block_out_channels[0]};
  for (int64_t level = 0; level < levels(config); ++level) {
    const int64_t halvings = level + 1 < levels(config) ? 1 : 0;
    out.insert(out.end(), static_cast<size_t>(config.layers_per_block + halvings),
               config.block_out_channels[static_cast<size_t>(level)]);
  }
  return out;
}

namespace {

void check_added_conditions(const UNetConfig& config, int64_t images, const AddedConditions& added) {
  if (config.addition_time_embed_dim == 0) return;
  const int64_t ids = static_cast<int64_t>(added.time_ids.size());
  if (ids == 0 || ids % images != 0) fail(ErrorKind::invalid_argument, "{} size conditions for {} images", ids, images);
  const int64_t pooled = config.projection_class_embeddings_input_dim - ids / images * config.addition_time_embed_dim;
  const Shape wanted{images, pooled};
  if (!added.pooled.defined() || added.pooled.shape() != wanted)
    fail(ErrorKind::invalid_argument, "the pooled text is {}; with {} size conditions the UNet takes {}",
         added.pooled.defined() ? added.pooled.shape().to_string() : "missing", ids / images, wanted.to_string());
}

}  // namespace

void check_unet_inputs(const UNetConfig& config, const UNetEncoder::Input& input, const TextContext* text) {
  const Tensor& sample = input.sample;
  if (sample.shape().rank() != 4 || sample.channels() != config.in_channels || sample.elements() == 0)
    fail(ErrorKind::invalid_argument, "latents of {}; the UNet takes [N, H, W, {}]", sample.shape().to_string(),
         config.in_channels);
  const int64_t images = sample.dim(0);
  if (static_cast<int64_t>(input.timesteps.size()) != images)
    fail(ErrorKind::invalid_argument, "{} timesteps for {} images", input.timesteps.size(), images);
  if (text == nullptr || text->images != images)
    fail(ErrorKind::invalid_argument, "text states of {} images for {} images", text == nullptr ? 0 : text->images,
         images);
  check_added_conditions(config, images, input.added);
  const auto guidance = static_cast<int64_t>(input.guidance_embedding.size());
  if (guidance != 0 && guidance != images * config.time_cond_proj_dim)
    fail(ErrorKind::invalid_argument, "a guidance embedding of {} numbers for {} images; the UNet takes {} each",
         guidance, images, config.time_cond_proj_dim);
}

}  // namespace dreamlab
