#pragma once

// What a network looks like, as data. Field names are those of diffusers' config.json where it has one.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

enum class Family { sd1, sd2, sdxl, sdxl_refiner };
// "SD 1.x", "SD 2.x", "SDXL", "SDXL refiner"
std::string_view name_of(Family family);

enum class PredictionType { epsilon, v_prediction, sample };
std::string_view name_of(PredictionType type);

enum class TextActivation { quick_gelu, gelu };

// CLIP text transformer (CLIP-L, OpenCLIP-H, OpenCLIP-bigG and small ones of the same structure).
struct TextEncoderConfig {
  int64_t vocab_size = 49408;
  int64_t max_positions = 77;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t layers = 12;         // num_hidden_layers: the blocks that are used
  int64_t heads = 12;          // num_attention_heads
  int64_t projection_dim = 0;  // width of text_projection; 0 where there is none
  double layer_norm_eps = 1e-5;
  TextActivation activation = TextActivation::quick_gelu;
  int32_t pad_id = 49407;  // what fills a window after the end token: 49407 for CLIP-L, 0 for the OpenCLIP encoders
  bool operator==(const TextEncoderConfig&) const = default;
};

// UNet2DConditionModel. Levels are listed from the widest resolution down; the up path mirrors the down path.
struct UNetConfig {
  int64_t in_channels = 4;  // 9 for in-painting: latents, mask, masked-image latents
  int64_t out_channels = 4;
  std::vector<int64_t> block_out_channels = {320, 640, 1280, 1280};
  int64_t layers_per_block = 2;
  std::vector<int64_t> transformer_layers = {
      1, 1, 1, 0};  // transformer blocks per attention of each down level; 0: a level without attention
  int64_t mid_transformer_layers = 1;         // 0: a middle block without attention
  std::vector<int64_t> heads = {8, 8, 8, 8};  // attention heads per level; the middle block has the last level's
  int64_t cross_attention_dim = 768;
  bool use_linear_projection =
      false;  // proj_in/proj_out are Linear (SD 2.x, SDXL) or 1x1 convolutions; the same arithmetic
  bool upcast_attention = false;
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  int64_t time_cond_proj_dim = 0;       // width of the guidance embedding of LCM-distilled models; 0: none
  int64_t addition_time_embed_dim = 0;  // SDXL: width of the sinusoid of each size/crop number; 0: no added conditions
  int64_t projection_class_embeddings_input_dim = 0;  // SDXL: pooled text width + numbers * addition_time_embed_dim
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  bool operator==(const UNetConfig&) const = default;
};

// AutoencoderKL.
struct VaeConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels = {128, 256, 512, 512};
  int64_t layers_per_block = 2;
  int64_t norm_num_groups = 32;
  double scaling_factor = 0.18215;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;
  bool operator==(const VaeConfig&) const = default;
};

// ControlNetModel: the down and middle half of a UNet, plus the embedding of the condition picture.
struct ControlNetConfig {
  UNetConfig unet;
  int64_t conditioning_channels = 3;
  std::vector<int64_t> conditioning_embedding_out_channels = {16, 32, 96, 256};
  bool operator==(const ControlNetConfig&) const = default;
};

// AutoencoderTiny (TAESD).
struct TaesdConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> encoder_block_out_channels = {64, 64, 64, 64};
  std::vector<int64_t> decoder_block_out_channels = {64, 64, 64, 64};
  std::vector<int64_t> num_encoder_blocks = {1, 3, 3, 3};
  std::vector<int64_t> num_decoder_blocks = {3, 3, 3, 1};
  double scaling_factor = 1.0;
  bool operator==(const TaesdConfig&) const = default;
};

// RRDBNet (ESRGAN, Real-ESRGAN).
struct RrdbNetConfig {
  int64_t in_channels =
      3;  // of the picture; a 2x or 1x Real-ESRGAN unshuffles it by `unshuffle` before the first convolution
  int64_t out_channels = 3;
  int64_t features = 64;  // nf
  int64_t blocks = 23;    // nb
  int64_t growth = 32;    // gc
  int64_t scale = 4;      // side of the result divided by side of the picture
  int64_t unshuffle = 1;
  bool operator==(const RrdbNetConfig&) const = default;
};

// The sub-pixel CNN on luminance (ESPCN). What the shapes do not tell follows from the naming of the file, that is,
// from the implementation that trained it.
struct EspcnConfig {
  enum class Hidden { tanh, relu };          // after every convolution but the last
  enum class Range { full, studio };         // of the luminance: 0..255, or Rec. 601's 16..235, both divided by 255
  std::vector<int64_t> features = {64, 32};  // output channels of every convolution but the last, which has scale^2
  std::vector<int64_t> kernels = {5, 3, 3};  // odd
  int64_t scale = 3;
  Hidden hidden = Hidden::tanh;
  bool sigmoid_output = false;
  Range range = Range::full;
  bool operator==(const EspcnConfig&) const = default;
};

// The noise schedule a model was trained with: scheduler_config.json, or the family's where there is none.
struct NoiseScheduleConfig {
  int64_t num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  std::string beta_schedule = "scaled_linear";  // or "linear", "squaredcos_cap_v2"
  std::vector<double> trained_betas;
  PredictionType prediction_type = PredictionType::epsilon;
  int64_t steps_offset = 1;
  std::optional<std::string> timestep_spacing;  // "leading", "trailing", "linspace"; unset: the sampler's own default
  bool set_alpha_to_one = false;
  bool clip_sample = false;
  double clip_sample_range = 1.0;
  bool rescale_betas_zero_snr = false;
  bool operator==(const NoiseScheduleConfig&) const = default;
};

// Everything about a checkpoint except its numbers.
struct ModelConfig {
  Family family = Family::sd1;
  UNetConfig unet;
  VaeConfig vae;
  // SD 1.x, 2.x: one. SDXL: CLIP-L, then OpenCLIP-bigG. SDXL refiner: OpenCLIP-bigG alone.
  std::vector<TextEncoderConfig> text_encoders;
  NoiseScheduleConfig schedule;
  bool force_zeros_for_empty_prompt = false;  // SDXL: no negative prompt means zero embeddings
  bool requires_aesthetics_score = false;     // refiner: five time ids, the last an aesthetic score
  int64_t native_size = 512;                  // side in pixels it was trained at

  bool is_sdxl() const { return family == Family::sdxl || family == Family::sdxl_refiner; }
  bool is_inpainting() const { return unet.in_channels == 9; }
};

// The published configurations, for --random-weights and as the starting point of detection.
ModelConfig published_config(Family family);

}  // namespace dreamlab
