#include "weights/model_config.h"

#include "base/error.h"

namespace dreamlab {
namespace {

// openai/clip-vit-large-patch14
TextEncoderConfig clip_l() {
  return {};
}

// laion/CLIP-ViT-H-14, as Stable Diffusion 2 uses it: without the last of its 24 blocks, without its projection.
TextEncoderConfig open_clip_h() {
  TextEncoderConfig config;
  config.hidden_size = 1024;
  config.intermediate_size = 4096;
  config.layers = 23;
  config.heads = 16;
  config.activation = TextActivation::gelu;
  config.pad_id = 0;
  return config;
}

// laion/CLIP-ViT-bigG-14
TextEncoderConfig open_clip_big_g() {
  TextEncoderConfig config;
  config.hidden_size = 1280;
  config.intermediate_size = 5120;
  config.layers = 32;
  config.heads = 20;
  config.projection_dim = 1280;
  config.activation = TextActivation::gelu;
  config.pad_id = 0;
  return config;
}

ModelConfig sd1() {
  ModelConfig config;
  config.text_encoders = {clip_l()};
  return config;
}

// stabilityai/stable-diffusion-2-1, the 768-pixel model
ModelConfig sd2() {
  ModelConfig config;
  config.family = Family::sd2;
  config.unet.heads = {5, 10, 20, 20};
  config.unet.cross_attention_dim = 1024;
  config.unet.use_linear_projection = true;
  config.unet.upcast_attention = true;
  config.text_encoders = {open_clip_h()};
  config.schedule.prediction_type = PredictionType::v_prediction;
  config.native_size = 768;
  return config;
}

ModelConfig sdxl() {
  ModelConfig config;
  config.family = Family::sdxl;
  config.unet.block_out_channels = {320, 640, 1280};
  config.unet.transformer_layers = {0, 2, 10};
  config.unet.mid_transformer_layers = 10;
  config.unet.heads = {5, 10, 20};
  config.unet.cross_attention_dim = 2048;
  config.unet.use_linear_projection = true;
  config.unet.addition_time_embed_dim = 256;
  config.unet.projection_class_embeddings_input_dim = 1280 + 6 * 256;
  config.vae.scaling_factor = 0.13025;
  config.text_encoders = {clip_l(), open_clip_big_g()};
  config.schedule.timestep_spacing = "leading";
  config.force_zeros_for_empty_prompt = true;
  config.native_size = 1024;
  return config;
}

ModelConfig sdxl_refiner() {
  ModelConfig config = sdxl();
  config.family = Family::sdxl_refiner;
  config.unet.block_out_channels = {384, 768, 1536, 1536};
  config.unet.transformer_layers = {0, 4, 4, 0};
  config.unet.mid_transformer_layers = 4;
  config.unet.heads = {6, 12, 24, 24};
  config.unet.cross_attention_dim = 1280;
  config.unet.projection_class_embeddings_input_dim = 1280 + 5 * 256;
  config.text_encoders = {open_clip_big_g()};
  config.force_zeros_for_empty_prompt = false;
  config.requires_aesthetics_score = true;
  return config;
}

}  // namespace

std::string_view name_of(Family family) {
  switch (family) {
    case Family::sd1:
      return "SD 1.x";
    case Family::sd2:
      return "SD 2.x";
    case Family::sdxl:
      return "SDXL";
    case Family::sdxl_refiner:
      return "SDXL refiner";
  }
  fail(ErrorKind::internal, "a family without a name");
}

std::string_view name_of(PredictionType type) {
  return type == PredictionType::epsilon ? "epsilon" : "v_prediction";
}

ModelConfig published_config(Family family) {
  switch (family) {
    case Family::sd1:
      return sd1();
    case Family::sd2:
      return sd2();
    case Family::sdxl:
      return sdxl();
    case Family::sdxl_refiner:
      return sdxl_refiner();
  }
  fail(ErrorKind::internal, "a family without a configuration");
}

}  // namespace dreamlab
