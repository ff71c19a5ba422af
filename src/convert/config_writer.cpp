#include "convert/config_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dreamlab {

namespace {

using nlohmann::ordered_json;

// The sides of latents that a model was trained at.
int64_t latent_size(const ModelConfig& config) {
  return config.native_size >> (config.vae.block_out_channels.size() - 1);
}

std::vector<std::string> repeated(const char* type, size_t levels) {
  return std::vector<std::string>(levels, type);
}

}  // namespace

ordered_json unet_json(const ModelConfig& config) {
  const UNetConfig& unet = config.unet;
  const size_t levels = unet.block_out_channels.size();
  std::vector<std::string> down, up;
  std::vector<int64_t> layers;
  for (size_t i = 0; i < levels; ++i) {
    const bool attention = unet.transformer_layers[i] > 0;
    down.push_back(attention ? "CrossAttnDownBlock2D" : "DownBlock2D");
    up.insert(up.begin(), attention ? "CrossAttnUpBlock2D" : "UpBlock2D");
    // The last number is the middle block's, too.
    const int64_t unused = i + 1 == levels ? unet.mid_transformer_layers : 1;
    layers.push_back(attention ? unet.transformer_layers[i] : std::max<int64_t>(1, unused));
  }
  const bool middle = unet.mid_transformer_layers > 0;
  ordered_json json = {{"_class_name", "UNet2DConditionModel"},
                       {"act_fn", "silu"},
                       {"attention_head_dim", unet.heads},
                       {"block_out_channels", unet.block_out_channels},
                       {"center_input_sample", false},
                       {"cross_attention_dim", unet.cross_attention_dim},
                       {"down_block_types", down},
                       {"downsample_padding", 1},
                       {"flip_sin_to_cos", unet.flip_sin_to_cos},
                       {"freq_shift", unet.freq_shift},
                       {"in_channels", unet.in_channels},
                       {"layers_per_block", unet.layers_per_block},
                       {"mid_block_type", middle ? "UNetMidBlock2DCrossAttn" : "UNetMidBlock2D"},
                       {"norm_eps", unet.norm_eps},
                       {"norm_num_groups", unet.norm_num_groups},
                       {"out_channels", unet.out_channels},
                       {"sample_size", latent_size(config)},
                       {"transformer_layers_per_block", layers},
                       {"up_block_types", up},
                       {"upcast_attention", unet.upcast_attention},
                       {"use_linear_projection", unet.use_linear_projection}};
  if (unet.time_cond_proj_dim > 0) json["time_cond_proj_dim"] = unet.time_cond_proj_dim;
  if (unet.addition_time_embed_dim > 0) {
    json["addition_embed_type"] = "text_time";
    json["addition_time_embed_dim"] = unet.addition_time_embed_dim;
    json["projection_class_embeddings_input_dim"] = unet.projection_class_embeddings_input_dim;
  }
  return json;
}

ordered_json vae_json(const ModelConfig& config) {
  const VaeConfig& vae = config.vae;
  const size_t levels = vae.block_out_channels.size();
  return {{"_class_name", "AutoencoderKL"},
          {"act_fn", "silu"},
          {"block_out_channels", vae.block_out_channels},
          {"down_block_types", repeated("DownEncoderBlock2D", levels)},
          {"in_channels", vae.in_channels},
          {"latent_channels", vae.latent_channels},
          {"layers_per_block", vae.layers_per_block},
          {"mid_block_add_attention", vae.mid_block_add_attention},
          {"norm_num_groups", vae.norm_num_groups},
          {"out_channels", vae.out_channels},
          {"sample_size", config.native_size},
          {"scaling_factor", vae.scaling_factor},
          {"up_block_types", repeated("UpDecoderBlock2D", levels)},
          {"use_post_quant_conv", vae.use_post_quant_conv},
          {"use_quant_conv", vae.use_quant_conv}};
}

ordered_json text_encoder_json(const TextEncoderConfig& config) {
  const bool projected = config.projection_dim > 0;
  ordered_json json = {
      {"architectures", repeated(projected ? "CLIPTextModelWithProjection" : "CLIPTextModel", 1)},
      {"bos_token_id", 49406},
      {"eos_token_id", 49407},
      {"hidden_act", config.activation == TextActivation::gelu ? "gelu" : "quick_gelu"},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"layer_norm_eps", config.layer_norm_eps},
      {"max_position_embeddings", config.max_positions},
      {"model_type", "clip_text_model"},
      {"num_attention_heads", config.heads},
      {"num_hidden_layers", config.layers},
      {"pad_token_id", config.pad_id},
      {"vocab_size", config.vocab_size},
  };
  if (projected) json["projection_dim"] = config.projection_dim;
  return json;
}

ordered_json schedule_json(const ModelConfig& config) {
  const NoiseScheduleConfig& schedule = config.schedule;
  ordered_json json = {{"_class_name", config.is_sdxl() ? "EulerDiscreteScheduler" : "DDIMScheduler"},
                       {"beta_end", schedule.beta_end},
                       {"beta_schedule", schedule.beta_schedule},
                       {"beta_start", schedule.beta_start},
                       {"clip_sample", schedule.clip_sample},
                       {"clip_sample_range", schedule.clip_sample_range},
                       {"num_train_timesteps", schedule.num_train_timesteps},
                       {"prediction_type", name_of(schedule.prediction_type)},
                       {"rescale_betas_zero_snr", schedule.rescale_betas_zero_snr},
                       {"set_alpha_to_one", schedule.set_alpha_to_one},
                       {"steps_offset", schedule.steps_offset}};
  if (schedule.timestep_spacing) json["timestep_spacing"] = *schedule.timestep_spacing;
  if (!schedule.trained_betas.empty()) json["trained_betas"] = schedule.trained_betas;
  return json;
}

}  // namespace dreamlab
