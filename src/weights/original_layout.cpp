#include "weights/original_layout.h"

#include <fmt/format.h>

#include <array>

namespace dreamlab {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;

// openaimodel.ResBlock against ResnetBlock2D.
constexpr std::array<NamePair, 6> kUNetResnet{{{"in_layers.0", "norm1"},
                                               {"in_layers.2", "conv1"},
                                               {"emb_layers.1", "time_emb_proj"},
                                               {"out_layers.0", "norm2"},
                                               {"out_layers.3", "conv2"},
                                               {"skip_connection", "conv_shortcut"}}};

constexpr std::array<NamePair, 8> kUNetOuter{{{"input_blocks.0.0", "conv_in"},
                                              {"time_embed.0", "time_embedding.linear_1"},
                                              {"time_embed.2", "time_embedding.linear_2"},
                                              {"time_embed.cond_proj", "time_embedding.cond_proj"},
                                              {"label_emb.0.0", "add_embedding.linear_1"},
                                              {"label_emb.0.2", "add_embedding.linear_2"},
                                              {"out.0", "conv_norm_out"},
                                              {"out.2", "conv_out"}}};

constexpr std::array<NamePair, 5> kVaeAttention{
    {{"norm", "group_norm"}, {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"proj_out", "to_out.0"}}};

constexpr std::array<NamePair, 5> kOpenClipLayer{{{"ln_1", "layer_norm1"},
                                                  {"ln_2", "layer_norm2"},
                                                  {"attn.out_proj", "self_attn.out_proj"},
                                                  {"mlp.c_fc", "mlp.fc1"},
                                                  {"mlp.c_proj", "mlp.fc2"}}};

void add_resnet(ModuleNames& names, const std::string& original, const std::string& diffusers) {
  for (const auto& [from, to] : kUNetResnet)
    names.emplace_back(fmt::format("{}.{}", original, from), fmt::format("{}.{}", diffusers, to));
}

int64_t levels_of(const UNetLayout& layout) {
  return static_cast<int64_t>(layout.attention.size());
}

void add_down_half(ModuleNames& names, const UNetLayout& layout) {
  int64_t block = 1;
  for (int64_t level = 0; level < levels_of(layout); ++level) {
    for (int64_t j = 0; j < layout.layers_per_block; ++j, ++block) {
      add_resnet(names, fmt::format("input_blocks.{}.0", block), fmt::format("down_blocks.{}.resnets.{}", level, j));
      if (layout.attention[static_cast<size_t>(level)])
        names.emplace_back(fmt::format("input_blocks.{}.1", block),
                           fmt::format("down_blocks.{}.attentions.{}", level, j));
    }
    if (level + 1 < levels_of(layout))
      names.emplace_back(fmt::format("input_blocks.{}.0.op", block++),
                         fmt::format("down_blocks.{}.downsamplers.0.conv", level));
  }
  add_resnet(names, "middle_block.0", "mid_block.resnets.0");
  if (layout.mid_attention) names.emplace_back("middle_block.1", "mid_block.attentions.0");
  add_resnet(names, layout.mid_attention ? "middle_block.2" : "middle_block.1", "mid_block.resnets.1");
}

void add_up_half(ModuleNames& names, const UNetLayout& layout) {
  int64_t block = 0;
  for (int64_t i = 0; i < levels_of(layout); ++i) {
    const int64_t level = levels_of(layout) - 1 - i;
    const bool attention = layout.attention[static_cast<size_t>(level)];
    for (int64_t j = 0; j <= layout.layers_per_block; ++j, ++block) {
      add_resnet(names, fmt::format("output_blocks.{}.0", block), fmt::format("up_blocks.{}.resnets.{}", i, j));
      if (attention)
        names.emplace_back(fmt::format("output_blocks.{}.1", block), fmt::format("up_blocks.{}.attentions.{}", i, j));
    }
    if (level > 0)
      names.emplace_back(fmt::format("output_blocks.{}.{}.conv", block - 1, attention ? 2 : 1),
                         fmt::format("up_blocks.{}.upsamplers.0.conv", i));
  }
}

void add_vae_resnet(ModuleNames& names, const std::string& original, const std::string& diffusers) {
  names.emplace_back(original + ".nin_shortcut", diffusers + ".conv_shortcut");
  names.emplace_back(original, diffusers);
}

void add_vae_half(ModuleNames& names, const std::string& half) {
  for (const char* same : {".conv_in", ".conv_out"}) names.emplace_back(half + same, half + same);
  names.emplace_back(half + ".norm_out", half + ".conv_norm_out");
  add_vae_resnet(names, half + ".mid.block_1", half + ".mid_block.resnets.0");
  add_vae_resnet(names, half + ".mid.block_2", half + ".mid_block.resnets.1");
  for (const auto& [from, to] : kVaeAttention)
    names.emplace_back(fmt::format("{}.mid.attn_1.{}", half, from),
                       fmt::format("{}.mid_block.attentions.0.{}", half, to));
}

}  // namespace

UNetLayout layout_of(const UNetConfig& config) {
  UNetLayout layout{config.layers_per_block, {}, config.mid_transformer_layers > 0};
  for (const int64_t layers : config.transformer_layers) layout.attention.push_back(layers > 0);
  return layout;
}

ModuleNames unet_modules(const UNetLayout& layout) {
  ModuleNames names(kUNetOuter.begin(), kUNetOuter.end());
  names.emplace_back("time_embedding.cond_proj", "time_embedding.cond_proj");  // how some LCM single files name it
  add_down_half(names, layout);
  add_up_half(names, layout);
  return names;
}

ModuleNames controlnet_modules(const UNetLayout& layout, int64_t hint_convolutions) {
  ModuleNames names(kUNetOuter.begin(), kUNetOuter.end());
  add_down_half(names, layout);
  const int64_t skips = levels_of(layout) * (layout.layers_per_block + 1);
  for (int64_t i = 0; i < skips; ++i)
    names.emplace_back(fmt::format("zero_convs.{}.0", i), fmt::format("controlnet_down_blocks.{}", i));
  names.emplace_back("middle_block_out.0", "controlnet_mid_block");
  // The hint block alternates convolutions and activations.
  for (int64_t i = 0; i < hint_convolutions; ++i) {
    const std::string place = i == 0                       ? "conv_in"
                              : i + 1 == hint_convolutions ? "conv_out"
                                                           : fmt::format("blocks.{}", i - 1);
    names.emplace_back(fmt::format("input_hint_block.{}", 2 * i), "controlnet_cond_embedding." + place);
  }
  return names;
}

ModuleNames vae_modules(int64_t levels, int64_t layers_per_block) {
  ModuleNames names{{"quant_conv", "quant_conv"}, {"post_quant_conv", "post_quant_conv"}};
  add_vae_half(names, "encoder");
  add_vae_half(names, "decoder");
  for (int64_t i = 0; i < levels; ++i) {
    const int64_t mirrored = levels - 1 - i;  // decoder.up is numbered by resolution, diffusers' up_blocks by order
    for (int64_t j = 0; j < layers_per_block; ++j)
      add_vae_resnet(names, fmt::format("encoder.down.{}.block.{}", i, j),
                     fmt::format("encoder.down_blocks.{}.resnets.{}", i, j));
    for (int64_t j = 0; j <= layers_per_block; ++j)
      add_vae_resnet(names, fmt::format("decoder.up.{}.block.{}", i, j),
                     fmt::format("decoder.up_blocks.{}.resnets.{}", mirrored, j));
    names.emplace_back(fmt::format("encoder.down.{}.downsample.conv", i),
                       fmt::format("encoder.down_blocks.{}.downsamplers.0.conv", i));
    names.emplace_back(fmt::format("decoder.up.{}.upsample.conv", i),
                       fmt::format("decoder.up_blocks.{}.upsamplers.0.conv", mirrored));
  }
  return names;
}

ModuleNames open_clip_modules(int64_t layers) {
  ModuleNames names{{"token_embedding", "text_model.embeddings.token_embedding"},
                    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
                    {"ln_final", "text_model.final_layer_norm"}};
  for (int64_t i = 0; i < layers; ++i)
    for (const auto& [from, to] : kOpenClipLayer)
      names.emplace_back(fmt::format("transformer.resblocks.{}.{}", i, from),
                         fmt::format("text_model.encoder.layers.{}.{}", i, to));
  return names;
}

ModuleNames original_esrgan_modules(int64_t blocks) {
  ModuleNames names{{"conv_first", "conv_first"}, {"trunk_conv", "conv_body"}, {"upconv1", "conv_up1"},
                    {"upconv2", "conv_up2"},      {"HRconv", "conv_hr"},       {"conv_last", "conv_last"}};
  for (int64_t i = 0; i < blocks; ++i)
    for (int dense = 1; dense <= 3; ++dense)
      names.emplace_back(fmt::format("RRDB_trunk.{}.RDB{}", i, dense), fmt::format("body.{}.rdb{}", i, dense));
  return names;
}

ModuleNames sequential_esrgan_modules(int64_t blocks, int64_t upsamplings) {
  // Sequential: convolution, trunk, then per upsampling (interpolation, convolution, activation), convolution,
  // activation, convolution.
  ModuleNames names{{"model.0", "conv_first"},
                    {fmt::format("model.1.sub.{}", blocks), "conv_body"},
                    {fmt::format("model.{}", 2 + 3 * upsamplings), "conv_hr"},
                    {fmt::format("model.{}", 4 + 3 * upsamplings), "conv_last"}};
  for (int64_t i = 0; i < upsamplings; ++i)
    names.emplace_back(fmt::format("model.{}", 3 + 3 * i), fmt::format("conv_up{}", i + 1));
  for (int64_t i = 0; i < blocks; ++i)
    for (int dense = 1; dense <= 3; ++dense)
      for (int conv = 1; conv <= 5; ++conv)
        names.emplace_back(fmt::format("model.1.sub.{}.RDB{}.conv{}.0", i, dense, conv),
                           fmt::format("body.{}.rdb{}.conv{}", i, dense, conv));
  return names;
}

const std::vector<EspcnNaming>& espcn_namings() {
  using Hidden = EspcnConfig::Hidden;
  using Range = EspcnConfig::Range;
  // The first whose modules are all there is meant: four convolutions before three of the same names.
  static const std::vector<EspcnNaming> namings{
      {{"conv1", "conv2", "conv3", "conv4"}, Hidden::relu, false, Range::full},               // PyTorch's examples
      {{"conv1", "conv2", "conv3"}, Hidden::tanh, true, Range::full},                         // leftthomas/ESPCN
      {{"first_part.0", "first_part.2", "last_part.0"}, Hidden::tanh, false, Range::studio},  // yjn870/ESPCN-pytorch
      {{"feature_maps.0", "feature_maps.2", "sub_pixel.0"}, Hidden::tanh, false, Range::studio},  // Lornatang's
  };
  return namings;
}

ModuleRenamer::ModuleRenamer(const ModuleNames& modules) {
  for (const auto& [from, to] : modules) modules_.emplace(from, to);
}

std::optional<std::string> ModuleRenamer::rename(std::string_view name) const {
  for (size_t end = name.size(); end != std::string_view::npos && end > 0; end = name.rfind('.', end - 1)) {
    const auto found = modules_.find(std::string(name.substr(0, end)));
    if (found != modules_.end()) return found->second + std::string(name.substr(end));
  }
  return std::nullopt;
}

}  // namespace dreamlab
