#include "weights/config_detection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "weights/model_limits.h"

namespace dreamlab {
namespace {

int64_t extent(const WeightSource& source, const std::string& name, int rank, int axis, const std::string& label) {
  const std::optional<Shape> shape = source.shape_of(name);
  if (!shape) fail(ErrorKind::invalid_file, "{}: tensor {} is missing", label, name);
  if (shape->rank() != rank || shape->elements() <= 0)
    fail(ErrorKind::invalid_file, "{}: tensor {} has shape {}; {} dimensions are expected", label, name,
         shape->to_string(), rank);
  return (*shape)[axis];
}

// How many of pattern(0), pattern(1), ... are there, from 0 without a gap: at least `least`, at most `most`.
template <typename Pattern>
int64_t count(const WeightSource& source, const std::string& label, const char* what, int64_t least, int64_t most,
              Pattern pattern) {
  int64_t n = 0;
  while (n <= most && source.contains(pattern(n))) ++n;
  if (n < least || n > most)
    fail(ErrorKind::invalid_file, "{}: {} {}; {} to {} are allowed", label, n > most ? "too many" : "too few", what,
         least, most);
  return n;
}

int64_t count_transformer_blocks(const WeightSource& source, const std::string& label, const std::string& attention) {
  return count(source, label, "transformer blocks", 0, kMostBlocks,
               [&](int64_t k) { return fmt::format("{}.transformer_blocks.{}.norm1.weight", attention, k); });
}

// SD 1.x has 8 heads everywhere, later families heads of 64. A width that this does not divide needs a sidecar.
int64_t heads_of(Family family, int64_t channels) {
  const int64_t heads = family == Family::sd1 ? 8 : std::max<int64_t>(1, channels / 64);
  return channels % heads == 0 ? heads : 1;
}

int64_t condition_numbers(Family family) {
  return family == Family::sdxl_refiner ? 5 : 6;
}

}  // namespace

std::optional<UNetLayout> detect_unet_layout(const TensorFile& file, const std::string& prefix) {
  if (!file.contains(prefix + "input_blocks.0.0.weight")) return std::nullopt;
  const auto has = [&](const std::string& name) { return file.contains(prefix + name); };
  // Each level's blocks end with a downsampling, but the last level's.
  std::vector<int64_t> downsamplings;
  int64_t blocks = 1;
  for (;; ++blocks) {
    const std::string block = fmt::format("input_blocks.{}.0.", blocks);
    if (has(block + "op.weight"))
      downsamplings.push_back(blocks);
    else if (!has(block + "in_layers.0.weight"))
      break;
  }
  UNetLayout layout;
  layout.layers_per_block = (downsamplings.empty() ? blocks : downsamplings[0]) - 1;
  layout.attention.clear();
  if (layout.layers_per_block < 1 || static_cast<int64_t>(downsamplings.size()) >= kMostLevels)
    fail(ErrorKind::invalid_file, "{}: input_blocks do not form 1 to {} levels", file.path().string(), kMostLevels);
  for (size_t level = 0; level <= downsamplings.size(); ++level) {
    const int64_t first = 1 + static_cast<int64_t>(level) * (layout.layers_per_block + 1);
    if (level < downsamplings.size() && downsamplings[level] != first + layout.layers_per_block)
      fail(ErrorKind::unsupported, "{}: the UNet's levels have different numbers of blocks", file.path().string());
    layout.attention.push_back(has(fmt::format("input_blocks.{}.1.norm.weight", first)));
  }
  layout.mid_attention = has("middle_block.1.norm.weight");
  return layout;
}

Family detect_family(const WeightSource& unet) {
  if (unet.contains("add_embedding.linear_1.weight"))
    return unet.contains("down_blocks.3.resnets.0.conv1.weight") ? Family::sdxl_refiner : Family::sdxl;
  for (const char* attention : {"down_blocks.0.attentions.0", "down_blocks.1.attentions.0", "mid_block.attentions.0"}) {
    const auto shape = unet.shape_of(std::string(attention) + ".proj_in.weight");
    if (shape) return shape->rank() == 2 ? Family::sd2 : Family::sd1;
  }
  return Family::sd1;
}

UNetConfig detect_unet_config(const WeightSource& unet, Family family, const std::string& label) {
  UNetConfig config = published_config(family).unet;
  config.in_channels = extent(unet, "conv_in.weight", 4, 1, label);
  if (unet.contains("conv_out.weight")) config.out_channels = extent(unet, "conv_out.weight", 4, 0, label);
  const int64_t levels = count(unet, label, "UNet levels", 1, kMostLevels,
                               [](int64_t i) { return fmt::format("down_blocks.{}.resnets.0.conv1.weight", i); });
  config.layers_per_block = count(unet, label, "resnets of a level", 1, kMostResnets,
                                  [](int64_t j) { return fmt::format("down_blocks.0.resnets.{}.conv1.weight", j); });

  config.block_out_channels.clear();
  config.transformer_layers.clear();
  config.heads.clear();
  for (int64_t i = 0; i < levels; ++i) {
    const int64_t channels = extent(unet, fmt::format("down_blocks.{}.resnets.0.conv1.weight", i), 4, 0, label);
    config.block_out_channels.push_back(channels);
    config.transformer_layers.push_back(
        count_transformer_blocks(unet, label, fmt::format("down_blocks.{}.attentions.0", i)));
    config.heads.push_back(heads_of(family, channels));
  }
  config.mid_transformer_layers = count_transformer_blocks(unet, label, "mid_block.attentions.0");
  for (int64_t i = 0; i <= levels; ++i) {
    const std::string attention = i < levels ? fmt::format("down_blocks.{}.attentions.0", i) : "mid_block.attentions.0";
    const std::string keys = attention + ".transformer_blocks.0.attn2.to_k.weight";
    if (!unet.contains(keys)) continue;
    config.cross_attention_dim = extent(unet, keys, 2, 1, label);
    const auto projection = unet.shape_of(attention + ".proj_in.weight");
    config.use_linear_projection = projection && projection->rank() == 2;
    break;
  }
  const bool guidance = unet.contains("time_embedding.cond_proj.weight");
  config.time_cond_proj_dim = guidance ? extent(unet, "time_embedding.cond_proj.weight", 2, 1, label) : 0;
  const bool added = unet.contains("add_embedding.linear_1.weight");
  config.projection_class_embeddings_input_dim = added ? extent(unet, "add_embedding.linear_1.weight", 2, 1, label) : 0;
  if (!added) config.addition_time_embed_dim = 0;
  return config;
}

VaeConfig detect_vae_config(const WeightSource& vae, Family family, const std::string& label) {
  VaeConfig config = published_config(family).vae;
  config.in_channels = extent(vae, "encoder.conv_in.weight", 4, 1, label);
  config.out_channels = extent(vae, "decoder.conv_out.weight", 4, 0, label);
  config.latent_channels = extent(vae, "decoder.conv_in.weight", 4, 1, label);
  const int64_t levels = count(vae, label, "VAE levels", 1, kMostLevels, [](int64_t i) {
    return fmt::format("encoder.down_blocks.{}.resnets.0.conv1.weight", i);
  });
  config.block_out_channels.clear();
  for (int64_t i = 0; i < levels; ++i)
    config.block_out_channels.push_back(
        extent(vae, fmt::format("encoder.down_blocks.{}.resnets.0.conv1.weight", i), 4, 0, label));
  config.layers_per_block = count(vae, label, "resnets of a level", 1, kMostResnets, [](int64_t j) {
    return fmt::format("encoder.down_blocks.0.resnets.{}.conv1.weight", j);
  });
  config.use_quant_conv = vae.contains("quant_conv.weight");
  config.use_post_quant_conv = vae.contains("post_quant_conv.weight");
  config.mid_block_add_attention = vae.contains("decoder.mid_block.attentions.0.group_norm.weight");
  return config;
}

TextEncoderConfig detect_text_encoder_config(const WeightSource& encoder, bool open_clip, const std::string& label) {
  TextEncoderConfig config;
  const std::string tokens = "text_model.embeddings.token_embedding.weight";
  config.vocab_size = extent(encoder, tokens, 2, 0, label);
  config.hidden_size = extent(encoder, tokens, 2, 1, label);
  config.max_positions = extent(encoder, "text_model.embeddings.position_embedding.weight", 2, 0, label);
  config.layers = count(encoder, label, "text encoder layers", 1, kMostLayers,
                        [](int64_t i) { return fmt::format("text_model.encoder.layers.{}.layer_norm1.weight", i); });
  config.intermediate_size = extent(encoder, "text_model.encoder.layers.0.mlp.fc1.weight", 2, 0, label);
  const bool projected = encoder.contains("text_projection.weight");
  config.projection_dim = projected ? extent(encoder, "text_projection.weight", 2, 0, label) : 0;
  config.heads = config.hidden_size % 64 == 0 ? config.hidden_size / 64 : 1;
  config.activation = open_clip ? TextActivation::gelu : TextActivation::quick_gelu;
  config.pad_id = open_clip ? 0 : 49407;
  return config;
}

ControlNetConfig detect_controlnet_config(const WeightSource& controlnet, const std::string& label) {
  ControlNetConfig config;
  ModelConfig model;
  model.family = detect_family(controlnet);
  model.unet = detect_unet_config(controlnet, model.family, label);
  settle_added_conditions(model);
  config.unet = model.unet;
  const std::string embedding = "controlnet_cond_embedding";
  config.conditioning_channels = extent(controlnet, embedding + ".conv_in.weight", 4, 1, label);
  config.conditioning_embedding_out_channels = {extent(controlnet, embedding + ".conv_in.weight", 4, 0, label)};
  const int64_t blocks = count(controlnet, label, "blocks of the condition's embedding", 0, kMostBlocks,
                               [&](int64_t i) { return fmt::format("{}.blocks.{}.weight", embedding, i); });
  for (int64_t i = 1; i < blocks; i += 2)
    config.conditioning_embedding_out_channels.push_back(
        extent(controlnet, fmt::format("{}.blocks.{}.weight", embedding, i), 4, 0, label));
  return config;
}

TaesdConfig detect_taesd_config(const WeightSource& taesd, const std::string& label) {
  TaesdConfig config;
  const int64_t channels = extent(taesd, "encoder.layers.0.weight", 4, 0, label);
  config.in_channels = extent(taesd, "encoder.layers.0.weight", 4, 1, label);
  config.latent_channels = extent(taesd, "decoder.layers.0.weight", 4, 1, label);
  config.encoder_block_out_channels.assign(4, channels);
  config.decoder_block_out_channels.assign(4, extent(taesd, "decoder.layers.0.weight", 4, 0, label));
  return config;
}

RrdbNetConfig detect_rrdbnet_config(const WeightSource& network, const std::string& label) {
  RrdbNetConfig config;
  config.features = extent(network, "conv_first.weight", 4, 0, label);
  config.out_channels = extent(network, "conv_last.weight", 4, 0, label);
  config.blocks = count(network, label, "RRDB blocks", 1, kMostBlocks,
                        [](int64_t i) { return fmt::format("body.{}.rdb1.conv1.weight", i); });
  config.growth = extent(network, "body.0.rdb1.conv1.weight", 4, 0, label);
  // Real-ESRGAN's x2 and x1 networks unshuffle the picture first and enlarge four times like the others.
  const int64_t in = extent(network, "conv_first.weight", 4, 1, label);
  config.in_channels = config.out_channels;
  for (const int64_t unshuffle : {1, 2, 4})
    if (in == config.in_channels * unshuffle * unshuffle) config.unshuffle = unshuffle;
  if (in != config.in_channels * config.unshuffle * config.unshuffle)
    fail(ErrorKind::unsupported, "{}: an RRDBNet from {} to {} channels", label, in, config.out_channels);
  const int64_t enlargement = network.contains("conv_up2.weight") ? 4 : network.contains("conv_up1.weight") ? 2 : 1;
  if (enlargement % config.unshuffle != 0)
    fail(ErrorKind::unsupported, "{}: an RRDBNet that unshuffles by {} and enlarges by {}", label, config.unshuffle,
         enlargement);
  config.scale = enlargement / config.unshuffle;
  return config;
}

EspcnConfig detect_espcn_config(const WeightSource& network, const EspcnNaming& naming, const std::string& label) {
  EspcnConfig config{{}, {}, 0, naming.hidden, naming.sigmoid_output, naming.range};
  const auto weight = [](size_t i) { return fmt::format("conv{}.weight", i + 1); };
  if (const int64_t in = extent(network, weight(0), 4, 1, label); in != 1)
    fail(ErrorKind::unsupported, "{}: an ESPCN on {} channels; 1 (luminance) is allowed", label, in);
  for (size_t i = 0; i < naming.modules.size(); ++i) {
    const int64_t out = extent(network, weight(i), 4, 0, label), kernel = extent(network, weight(i), 4, 2, label);
    if (out > kMostChannels || kernel % 2 == 0 || kernel > kWidestKernel)
      fail(ErrorKind::unsupported,
           "{}: {} has {} channels and a window of {}; up to {} and odd windows up to {} are "
           "allowed",
           label, weight(i), out, kernel, kMostChannels, kWidestKernel);
    config.kernels.push_back(kernel);
    if (i + 1 < naming.modules.size()) {
      config.features.push_back(out);
      continue;
    }
    while (config.scale * config.scale < out && config.scale < kLargestScale) ++config.scale;
    if (config.scale < 2 || config.scale * config.scale != out)
      fail(ErrorKind::unsupported, "{}: {} has {} channels; the square of a scale from 2 to {} is expected", label,
           weight(i), out, kLargestScale);
  }
  return config;
}

void settle_added_conditions(ModelConfig& config) {
  UNetConfig& unet = config.unet;
  if (unet.projection_class_embeddings_input_dim == 0) return;
  const int64_t numbers = condition_numbers(config.family);
  const int64_t published = published_config(config.family).text_encoders.back().projection_dim;
  const int64_t pooled = config.text_encoders.empty() ? published : config.text_encoders.back().projection_dim;
  const int64_t rest = unet.projection_class_embeddings_input_dim - pooled;
  unet.addition_time_embed_dim = rest > 0 && rest % numbers == 0 ? rest / numbers : 256;
}

PredictionType detect_sd2_prediction(const WeightSource& unet) {
  const std::string name = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias";
  const auto inputs = unet.shape_of("conv_in.weight");
  const auto shape = unet.shape_of(name);
  if (!inputs || inputs->rank() != 4 || (*inputs)[1] != 4 || !shape) return PredictionType::epsilon;
  const std::vector<float> values = unet.get(name, *shape).to_f32();
  if (values.empty()) return PredictionType::epsilon;
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const auto n = static_cast<double>(values.size());
  const double deviation = std::sqrt(std::max(0.0, squares / n - sum / n * (sum / n)));
  return deviation > 0.09 ? PredictionType::v_prediction : PredictionType::epsilon;
}

std::optional<PredictionType> prediction_from_metadata(const std::map<std::string, std::string>& metadata) {
  const auto type = metadata.find("modelspec.prediction_type");
  if (type != metadata.end()) {
    if (type->second == "v" || type->second == "v_prediction") return PredictionType::v_prediction;
    if (type->second == "epsilon") return PredictionType::epsilon;
  }
  const auto step = metadata.find("global_step");
  if (step != metadata.end() && (step->second == "875000" || step->second == "220000")) return PredictionType::epsilon;
  return std::nullopt;
}

}  // namespace dreamlab
