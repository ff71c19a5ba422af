// The module structure is diffusers': UNet2DConditionModel, AutoencoderKL, ControlNetModel, AutoencoderTiny;
// transformers' CLIPTextModel; RRDBNet as in the ESRGAN paper's code; ESPCN as conv1, conv2, ...
#include "weights/expected_tensors.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace dreamlab {
namespace {

class Listing {
 public:
  ExpectedTensors tensors;

  void add(std::string name, Shape shape) { tensors.push_back({std::move(name), shape}); }

  void bias(const std::string& module, int64_t size) { add(module + ".bias", {size}); }

  void norm(const std::string& module, int64_t channels) {
    add(module + ".weight", {channels});
    bias(module, channels);
  }

  void linear_without_bias(const std::string& module, int64_t in, int64_t out) { add(module + ".weight", {out, in}); }

  void linear(const std::string& module, int64_t in, int64_t out) {
    linear_without_bias(module, in, out);
    bias(module, out);
  }

  void conv_without_bias(const std::string& module, int64_t in, int64_t out, int64_t kernel) {
    add(module + ".weight", {out, in, kernel, kernel});
  }

  void conv(const std::string& module, int64_t in, int64_t out, int64_t kernel = 3) {
    conv_without_bias(module, in, out, kernel);
    bias(module, out);
  }

  // ResnetBlock2D; time_channels 0: without a time embedding, as in the VAE.
  void resnet(const std::string& module, int64_t in, int64_t out, int64_t time_channels) {
    norm(module + ".norm1", in);
    conv(module + ".conv1", in, out);
    if (time_channels > 0) linear(module + ".time_emb_proj", time_channels, out);
    norm(module + ".norm2", out);
    conv(module + ".conv2", out, out);
    if (in != out) conv(module + ".conv_shortcut", in, out, 1);
  }

  // Attention of a BasicTransformerBlock.
  void attention(const std::string& module, int64_t channels, int64_t context_channels) {
    linear_without_bias(module + ".to_q", channels, channels);
    linear_without_bias(module + ".to_k", context_channels, channels);
    linear_without_bias(module + ".to_v", context_channels, channels);
    linear(module + ".to_out.0", channels, channels);
  }

  // Transformer2DModel.
  void transformer(const std::string& module, int64_t channels, int64_t blocks, const UNetConfig& config) {
    norm(module + ".norm", channels);
    projection(module + ".proj_in", channels, config.use_linear_projection);
    for (int64_t i = 0; i < blocks; ++i) {
      const std::string block = fmt::format("{}.transformer_blocks.{}", module, i);
      norm(block + ".norm1", channels);
      attention(block + ".attn1", channels, channels);
      norm(block + ".norm2", channels);
      attention(block + ".attn2", channels, config.cross_attention_dim);
      norm(block + ".norm3", channels);
      linear(block + ".ff.net.0.proj", channels, 8 * channels);  // GEGLU: value and gate, four times the width each
      linear(block + ".ff.net.2", 4 * channels, channels);
    }
    projection(module + ".proj_out", channels, config.use_linear_projection);
  }

  void projection(const std::string& module, int64_t channels, bool as_linear) {
    if (as_linear)
      linear(module, channels, channels);
    else
      conv(module, channels, channels, 1);
  }

  // The VAE's middle block: two resnets around one attention over all pixels.
  void vae_mid_block(const std::string& module, int64_t channels, bool with_attention) {
    resnet(module + ".resnets.0", channels, channels, 0);
    if (with_attention) {
      norm(module + ".attentions.0.group_norm", channels);
      for (const char* name :
           {".attentions.0.to_q", ".attentions.0.to_k", ".attentions.0.to_v", ".attentions.0.to_out.0"})
        linear(module + name, channels, channels);
    }
    resnet(module + ".resnets.1", channels, channels, 0);
  }
};

int64_t time_channels(const UNetConfig& config) {
  return 4 * config.block_out_channels.front();
}

// What UNet2DConditionModel and ControlNetModel share: input, embeddings, down path, middle block.
void list_down_half(Listing& list, const UNetConfig& config) {
  const auto& channels = config.block_out_channels;
  const int64_t time = time_channels(config);
  list.conv("conv_in", config.in_channels, channels.front());
  list.linear("time_embedding.linear_1", channels.front(), time);
  list.linear("time_embedding.linear_2", time, time);
  if (config.time_cond_proj_dim > 0)
    list.linear_without_bias("time_embedding.cond_proj", config.time_cond_proj_dim, channels.front());
  if (config.addition_time_embed_dim > 0) {
    list.linear("add_embedding.linear_1", config.projection_class_embeddings_input_dim, time);
    list.linear("add_embedding.linear_2", time, time);
  }
  for (size_t level = 0; level < channels.size(); ++level) {
    const std::string block = fmt::format("down_blocks.{}", level);
    for (int64_t j = 0; j < config.layers_per_block; ++j) {
      const int64_t in = j > 0 || level == 0 ? channels[level] : channels[level - 1];
      list.resnet(fmt::format("{}.resnets.{}", block, j), in, channels[level], time);
      if (config.transformer_layers[level] > 0)
        list.transformer(fmt::format("{}.attentions.{}", block, j), channels[level], config.transformer_layers[level],
                         config);
    }
    if (level + 1 < channels.size()) list.conv(block + ".downsamplers.0.conv", channels[level], channels[level]);
  }
  list.resnet("mid_block.resnets.0", channels.back(), channels.back(), time);
  if (config.mid_transformer_layers > 0)
    list.transformer("mid_block.attentions.0", channels.back(), config.mid_transformer_layers, config);
  list.resnet("mid_block.resnets.1", channels.back(), channels.back(), time);
}

// Channels of every skip connection in the order the down path makes them: conv_in, each resnet, each downsampler.
std::vector<int64_t> skip_channels(const UNetConfig& config) {
  std::vector<int64_t> out{config.block_out_channels.front()};
  for (size_t level = 0; level < config.block_out_channels.size(); ++level) {
    const bool last = level + 1 == config.block_out_channels.size();
    out.insert(out.end(), static_cast<size_t>(config.layers_per_block + (last ? 0 : 1)),
               config.block_out_channels[level]);
  }
  return out;
}

void list_up_half(Listing& list, const UNetConfig& config) {
  std::vector<int64_t> skips = skip_channels(config);
  int64_t channels = config.block_out_channels.back();
  const size_t levels = config.block_out_channels.size();
  for (size_t i = 0; i < levels; ++i) {
    const size_t level = levels - 1 - i;
    const std::string block = fmt::format("up_blocks.{}", i);
    const int64_t out = config.block_out_channels[level];
    for (int64_t j = 0; j <= config.layers_per_block; ++j) {
      list.resnet(fmt::format("{}.resnets.{}", block, j), channels + skips.back(), out, time_channels(config));
      skips.pop_back();
      channels = out;
      if (config.transformer_layers[level] > 0)
        list.transformer(fmt::format("{}.attentions.{}", block, j), out, config.transformer_layers[level], config);
    }
    if (level > 0) list.conv(block + ".upsamplers.0.conv", out, out);
  }
  list.norm("conv_norm_out", config.block_out_channels.front());
  list.conv("conv_out", config.block_out_channels.front(), config.out_channels);
}

void list_vae_encoder(Listing& list, const VaeConfig& config) {
  const auto& channels = config.block_out_channels;
  list.conv("encoder.conv_in", config.in_channels, channels.front());
  int64_t in = channels.front();
  for (size_t level = 0; level < channels.size(); ++level) {
    for (int64_t j = 0; j < config.layers_per_block; ++j) {
      list.resnet(fmt::format("encoder.down_blocks.{}.resnets.{}", level, j), in, channels[level], 0);
      in = channels[level];
    }
    if (level + 1 < channels.size())
      list.conv(fmt::format("encoder.down_blocks.{}.downsamplers.0.conv", level), in, in);
  }
  list.vae_mid_block("encoder.mid_block", in, config.mid_block_add_attention);
  list.norm("encoder.conv_norm_out", in);
  list.conv("encoder.conv_out", in, 2 * config.latent_channels);
}

void list_vae_decoder(Listing& list, const VaeConfig& config) {
  const auto& channels = config.block_out_channels;
  int64_t in = channels.back();
  list.conv("decoder.conv_in", config.latent_channels, in);
  list.vae_mid_block("decoder.mid_block", in, config.mid_block_add_attention);
  for (size_t i = 0; i < channels.size(); ++i) {
    const int64_t out = channels[channels.size() - 1 - i];
    for (int64_t j = 0; j <= config.layers_per_block; ++j) {
      list.resnet(fmt::format("decoder.up_blocks.{}.resnets.{}", i, j), in, out, 0);
      in = out;
    }
    if (i + 1 < channels.size()) list.conv(fmt::format("decoder.up_blocks.{}.upsamplers.0.conv", i), out, out);
  }
  list.norm("decoder.conv_norm_out", in);
  list.conv("decoder.conv_out", in, config.out_channels);
}

// AutoencoderTinyBlock: three 3x3 convolutions with activations between them.
void list_taesd_blocks(Listing& list, const std::string& layers, int64_t& index, int64_t count, int64_t channels) {
  for (int64_t i = 0; i < count; ++i, ++index)
    for (const int conv : {0, 2, 4}) list.conv(fmt::format("{}.{}.conv.{}", layers, index, conv), channels, channels);
}

}  // namespace

ExpectedTensors expected_tensors(const UNetConfig& config) {
  Listing list;
  list_down_half(list, config);
  list_up_half(list, config);
  return std::move(list.tensors);
}

ExpectedTensors expected_tensors(const ControlNetConfig& config) {
  Listing list;
  list_down_half(list, config.unet);

  const auto& embedding = config.conditioning_embedding_out_channels;
  const std::string cond = "controlnet_cond_embedding";
  list.conv(cond + ".conv_in", config.conditioning_channels, embedding.front());
  for (size_t i = 0; i + 1 < embedding.size(); ++i) {
    list.conv(fmt::format("{}.blocks.{}", cond, 2 * i), embedding[i], embedding[i]);
    list.conv(fmt::format("{}.blocks.{}", cond, 2 * i + 1), embedding[i], embedding[i + 1]);
  }
  list.conv(cond + ".conv_out", embedding.back(), config.unet.block_out_channels.front());

  const std::vector<int64_t> skips = skip_channels(config.unet);
  for (size_t i = 0; i < skips.size(); ++i)
    list.conv(fmt::format("controlnet_down_blocks.{}", i), skips[i], skips[i], 1);
  list.conv("controlnet_mid_block", config.unet.block_out_channels.back(), config.unet.block_out_channels.back(), 1);
  return std::move(list.tensors);
}

ExpectedTensors expected_tensors(const VaeConfig& config) {
  Listing list;
  list_vae_encoder(list, config);
  list_vae_decoder(list, config);
  if (config.use_quant_conv) list.conv("quant_conv", 2 * config.latent_channels, 2 * config.latent_channels, 1);
  if (config.use_post_quant_conv) list.conv("post_quant_conv", config.latent_channels, config.latent_channels, 1);
  return std::move(list.tensors);
}

ExpectedTensors expected_tensors(const TextEncoderConfig& config) {
  Listing list;
  list.add("text_model.embeddings.token_embedding.weight", {config.vocab_size, config.hidden_size});
  list.add("text_model.embeddings.position_embedding.weight", {config.max_positions, config.hidden_size});
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string layer = fmt::format("text_model.encoder.layers.{}", i);
    list.norm(layer + ".layer_norm1", config.hidden_size);
    for (const char* name : {".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.out_proj"})
      list.linear(layer + name, config.hidden_size, config.hidden_size);
    list.norm(layer + ".layer_norm2", config.hidden_size);
    list.linear(layer + ".mlp.fc1", config.hidden_size, config.intermediate_size);
    list.linear(layer + ".mlp.fc2", config.intermediate_size, config.hidden_size);
  }
  list.norm("text_model.final_layer_norm", config.hidden_size);
  if (config.projection_dim > 0) list.linear_without_bias("text_projection", config.hidden_size, config.projection_dim);
  return std::move(list.tensors);
}

ExpectedTensors expected_tensors(const TaesdConfig& config) {
  Listing list;
  int64_t index = 0;
  for (size_t i = 0; i < config.num_encoder_blocks.size(); ++i) {
    const int64_t channels = config.encoder_block_out_channels[i];
    const std::string down = fmt::format("encoder.layers.{}", index++);
    if (i == 0)
      list.conv(down, config.in_channels, channels);
    else
      list.conv_without_bias(down, channels, channels, 3);
    list_taesd_blocks(list, "encoder.layers", index, config.num_encoder_blocks[i], channels);
  }
  list.conv(fmt::format("encoder.layers.{}", index), config.encoder_block_out_channels.back(), config.latent_channels);

  list.conv("decoder.layers.0", config.latent_channels, config.decoder_block_out_channels.front());
  index = 2;  // after the activation
  for (size_t i = 0; i < config.num_decoder_blocks.size(); ++i) {
    const int64_t channels = config.decoder_block_out_channels[i];
    list_taesd_blocks(list, "decoder.layers", index, config.num_decoder_blocks[i], channels);
    const bool last = i + 1 == config.num_decoder_blocks.size();
    if (!last) ++index;  // the upsampling
    const std::string out = fmt::format("decoder.layers.{}", index++);
    if (last)
      list.conv(out, channels, config.out_channels);
    else
      list.conv_without_bias(out, channels, channels, 3);
  }
  return std::move(list.tensors);
}

ExpectedTensors expected_tensors(const RrdbNetConfig& config) {
  Listing list;
  list.conv("conv_first", config.in_channels * config.unshuffle * config.unshuffle, config.features);
  for (int64_t i = 0; i < config.blocks; ++i)
    for (const char* dense : {"rdb1", "rdb2", "rdb3"})
      for (int64_t j = 0; j < 5; ++j)
        list.conv(fmt::format("body.{}.{}.conv{}", i, dense, j + 1), config.features + j * config.growth,
                  j < 4 ? config.growth : config.features);
  list.conv("conv_body", config.features, config.features);
  if (config.scale * config.unshuffle >= 2) list.conv("conv_up1", config.features, config.features);
  if (config.scale * config.unshuffle >= 4) list.conv("conv_up2", config.features, config.features);
  list.conv("conv_hr", config.features, config.features);
  list.conv("conv_last", config.features, config.out_channels);
  return std::move(list.tensors);
}

ExpectedTensors expected_tensors(const EspcnConfig& config) {
  Listing list;
  int64_t in = 1;
  for (size_t i = 0; i < config.kernels.size(); ++i) {
    const int64_t out = i < config.features.size() ? config.features[i] : config.scale * config.scale;
    list.conv(fmt::format("conv{}", i + 1), in, out, config.kernels[i]);
    in = out;
  }
  return std::move(list.tensors);
}

}  // namespace dreamlab
