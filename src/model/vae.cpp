#include "model/vae.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "model/vae_tiles.h"

namespace dreamlab {
namespace {

constexpr double kVaeNormEps = 1e-6;
constexpr float kMinLogvar = -30.0f, kMaxLogvar = 20.0f;

LayerScope vae_scope(Device& device, const WeightSource& weights) {
  return {device, WeightScope(weights), "vae"};
}

ResnetDims vae_resnet(const VaeConfig& config, int64_t in, int64_t out) {
  return {in, out, 0, config.norm_num_groups, kVaeNormEps};
}

void check_input(const Tensor& x, int64_t channels, std::string_view what) {
  if (x.shape().rank() != 4 || x.channels() != channels || x.elements() == 0)
    fail(ErrorKind::invalid_argument, "{} of {}; the VAE takes [N, H, W, {}]", what, x.shape().to_string(), channels);
}

void check_pictures(const VaeConfig& config, const Tensor& pictures) {
  check_input(pictures, config.in_channels, "pictures");
  const int64_t factor = vae_scale_factor(config);
  if (pictures.dim(1) % factor != 0 || pictures.dim(2) % factor != 0)
    fail(ErrorKind::invalid_argument, "a picture of {}x{}; the VAE takes multiples of {}", pictures.dim(2),
         pictures.dim(1), factor);
}

// Mean and clamped logarithm of the variance from the two halves of the channels.
LatentDistribution split_moments(const std::vector<float>& moments, const Shape& shape) {
  LatentDistribution out{shape, {}, {}};
  const int64_t channels = shape[-1], pixels = shape.elements() / channels;
  for (int64_t i = 0; i < pixels; ++i) {
    const float* pixel = moments.data() + 2 * i * channels;
    out.mean.insert(out.mean.end(), pixel, pixel + channels);
    for (int64_t c = 0; c < channels; ++c)
      out.logvar.push_back(std::clamp(pixel[channels + c], kMinLogvar, kMaxLogvar));
  }
  return out;
}

Shape scaled_shape(const Tensor& x, int64_t multiply, int64_t divide, int64_t channels) {
  return {x.dim(0), x.dim(1) * multiply / divide, x.dim(2) * multiply / divide, channels};
}

}  // namespace

int64_t vae_scale_factor(const VaeConfig& config) {
  return int64_t{1} << (config.block_out_channels.size() - 1);
}

VaeMidBlock::VaeMidBlock(const LayerScope& scope, const VaeConfig& config)
    : resnet0_(scope / "resnets.0",
               vae_resnet(config, config.block_out_channels.back(), config.block_out_channels.back())),
      resnet1_(scope / "resnets.1",
               vae_resnet(config, config.block_out_channels.back(), config.block_out_channels.back())) {
  if (config.mid_block_add_attention)
    attention_.emplace(scope / "attentions.0", config.block_out_channels.back(), config.norm_num_groups, kVaeNormEps);
}

Tensor VaeMidBlock::forward(const Context& context, Tensor x) const {
  x = resnet0_.forward(context, std::move(x));
  if (attention_) x = attention_->forward(context, x);
  x = resnet1_.forward(context, std::move(x));
  if (context.tap) context.tap("mid_block", x);
  return x;
}

VaeDecoder::VaeDecoder(Device& device, const VaeConfig& config, const WeightSource& weights)
    : group_(device, WeightGroupKind::network),
      config_(config),
      conv_in_(vae_scope(device, weights) / "decoder.conv_in", config.latent_channels,
               config.block_out_channels.back()),
      mid_block_(vae_scope(device, weights) / "decoder.mid_block", config),
      conv_norm_out_(vae_scope(device, weights) / "decoder.conv_norm_out", config.block_out_channels[0],
                     config.norm_num_groups, kVaeNormEps),
      conv_out_(vae_scope(device, weights) / "decoder.conv_out", config.block_out_channels[0], config.out_channels) {
  const LayerScope scope = vae_scope(device, weights);
  if (config.use_post_quant_conv)
    post_quant_conv_.emplace(scope / "post_quant_conv", config.latent_channels, config.latent_channels);
  int64_t in = config.block_out_channels.back();
  const auto levels = static_cast<int64_t>(config.block_out_channels.size());
  for (int64_t i = 0; i < levels; ++i) {
    const LayerScope block = scope / "decoder.up_blocks" / i;
    const int64_t out = config.block_out_channels[static_cast<size_t>(levels - 1 - i)];
    Level level;
    for (int64_t j = 0; j <= config.layers_per_block; ++j) {
      level.resnets.emplace_back(block / "resnets" / j, vae_resnet(config, in, out));
      in = out;
    }
    if (i + 1 < levels) level.upsampler.emplace(block / "upsamplers.0", out);
    up_blocks_.push_back(std::move(level));
  }
  group_.packed();
}

// What the first block of the last level holds: its input, whose place the norm takes, and twice its output.
void VaeDecoder::expect(Device& device, int64_t height, int64_t width) const {
  const int64_t factor = vae_scale_factor(config_), pixels = factor * height * factor * width;
  const int64_t out = config_.block_out_channels[0];
  const int64_t in = config_.block_out_channels[std::min<size_t>(1, config_.block_out_channels.size() - 1)];
  const size_t bytes = static_cast<size_t>(pixels * (in + 2 * out)) * size_of(device.compute_dtype());
  device.expect_activations(bytes + bytes / 16);  // with what is small
}

Tensor VaeDecoder::decode(const Context& context, const Tensor& latents) const {
  check_input(latents, config_.latent_channels, "latents");
  const LayerGroup::Use use = group_.use();
  expect(context.device, latents.dim(0) * latents.dim(1), latents.dim(2));
  Tensor x = context.device.cast(latents, context.device.compute_dtype());
  if (post_quant_conv_) x = post_quant_conv_->forward(context, x);
  if (context.tap) context.tap("post_quant_conv", x);
  x = conv_in_.forward(context, x);
  if (context.tap) context.tap("conv_in", x);
  x = mid_block_.forward(context, std::move(x));
  for (size_t i = 0; i < up_blocks_.size(); ++i) {
    for (const ResnetBlock& resnet : up_blocks_[i].resnets) x = resnet.forward(context, std::move(x));
    if (up_blocks_[i].upsampler) x = up_blocks_[i].upsampler->forward(context, x);
    if (context.tap) context.tap(fmt::format("up_blocks.{}", i), x);
  }
  x = conv_norm_out_.forward(context, std::move(x), Activation::silu);
  return conv_out_.forward(context, x);
}

Tensor VaeDecoder::decode_tiled(const Context& context, const Tensor& latents, const VaeTiling& tiling) const {
  check_input(latents, config_.latent_channels, "latents");
  if (latents.dim(1) <= tiling.latent_tile && latents.dim(2) <= tiling.latent_tile) return decode(context, latents);
  const int64_t factor = vae_scale_factor(config_);
  const Shape shape = scaled_shape(latents, factor, 1, config_.out_channels);
  const TileGeometry geometry{tiling.latent_tile, factor * tiling.latent_tile, tiling.overlap};
  const std::vector<float> pictures =
      run_tiles(context, latents, shape, geometry, [&](const Tensor& tile) { return decode(context, tile); });
  return context.device.upload(pictures, shape, DType::f32);
}

VaeEncoder::VaeEncoder(Device& device, const VaeConfig& config, const WeightSource& weights)
    : group_(device, WeightGroupKind::network),
      config_(config),
      conv_in_(vae_scope(device, weights) / "encoder.conv_in", config.in_channels, config.block_out_channels[0]),
      mid_block_(vae_scope(device, weights) / "encoder.mid_block", config),
      conv_norm_out_(vae_scope(device, weights) / "encoder.conv_norm_out", config.block_out_channels.back(),
                     config.norm_num_groups, kVaeNormEps),
      conv_out_(vae_scope(device, weights) / "encoder.conv_out", config.block_out_channels.back(),
                2 * config.latent_channels) {
  const LayerScope scope = vae_scope(device, weights);
  int64_t in = config.block_out_channels[0];
  const auto levels = static_cast<int64_t>(config.block_out_channels.size());
  for (int64_t i = 0; i < levels; ++i) {
    const LayerScope block = scope / "encoder.down_blocks" / i;
    const int64_t out = config.block_out_channels[static_cast<size_t>(i)];
    Level level;
    for (int64_t j = 0; j < config.layers_per_block; ++j) {
      level.resnets.emplace_back(block / "resnets" / j, vae_resnet(config, in, out));
      in = out;
    }
    if (i + 1 < levels) level.downsampler.emplace(block / "downsamplers.0", out, DownsamplePadding::right_and_bottom);
    down_blocks_.push_back(std::move(level));
  }
  if (config.use_quant_conv)
    quant_conv_.emplace(scope / "quant_conv", 2 * config.latent_channels, 2 * config.latent_channels);
  group_.packed();
}

Tensor VaeEncoder::moments(const Context& context, const Tensor& pictures) const {
  const LayerGroup::Use use = group_.use();
  Tensor x = conv_in_.forward(context, context.device.cast(pictures, context.device.compute_dtype()));
  if (context.tap) context.tap("conv_in", x);
  for (size_t i = 0; i < down_blocks_.size(); ++i) {
    for (const ResnetBlock& resnet : down_blocks_[i].resnets) x = resnet.forward(context, std::move(x));
    if (down_blocks_[i].downsampler) x = down_blocks_[i].downsampler->forward(context, x);
    if (context.tap) context.tap(fmt::format("down_blocks.{}", i), x);
  }
  x = mid_block_.forward(context, std::move(x));
  x = conv_norm_out_.forward(context, std::move(x), Activation::silu);
  x = conv_out_.forward(context, x);
  return quant_conv_ ? quant_conv_->forward(context, x) : x;
}

LatentDistribution VaeEncoder::encode(const Context& context, const Tensor& pictures) const {
  check_pictures(config_, pictures);
  const Shape shape = scaled_shape(pictures, 1, vae_scale_factor(config_), config_.latent_channels);
  return split_moments(context.device.download(moments(context, pictures)), shape);
}

LatentDistribution VaeEncoder::encode_tiled(const Context& context, const Tensor& pictures,
                                            const VaeTiling& tiling) const {
  check_pictures(config_, pictures);
  const int64_t factor = vae_scale_factor(config_);
  const int64_t picture_tile = factor * tiling.latent_tile;
  if (pictures.dim(1) <= picture_tile && pictures.dim(2) <= picture_tile) return encode(context, pictures);
  const TileGeometry geometry{picture_tile, tiling.latent_tile, tiling.overlap};
  const std::vector<float> values =
      run_tiles(context, pictures, scaled_shape(pictures, 1, factor, 2 * config_.latent_channels), geometry,
                [&](const Tensor& tile) { return moments(context, tile); });
  return split_moments(values, scaled_shape(pictures, 1, factor, config_.latent_channels));
}

std::vector<float> LatentDistribution::sample(std::span<const float> noise) const {
  if (noise.size() != mean.size())
    fail(ErrorKind::internal, "{} noise values for {} latents", noise.size(), mean.size());
  std::vector<float> out(mean.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = mean[i] + std::exp(0.5f * logvar[i]) * noise[i];
  return out;
}

}  // namespace dreamlab
