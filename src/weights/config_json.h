#pragma once

// diffusers' and transformers' configuration files. Every function starts from `base` and takes over the keys that are
// there; null counts as absent, unknown keys are ignored. All throw Error(invalid_file) with one line ("unet:
// norm_num_groups is -1; 1 to 1024 is allowed") on a wrong type, a value out of range, or lists that do not fit
// together, and Error(unsupported) on a variant that is understood but not built (an unknown block type, for instance).
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "weights/model_config.h"

namespace dreamlab {

// UNet2DConditionModel. `attention_head_dim` is the number of heads, as in diffusers; `num_attention_heads` wins where
// both are set.
UNetConfig parse_unet_config(const nlohmann::json& json, const UNetConfig& base = {});
// AutoencoderKL.
VaeConfig parse_vae_config(const nlohmann::json& json, const VaeConfig& base = {});
// CLIPTextConfig. projection_dim counts only for the architecture CLIPTextModelWithProjection. pad_id follows the
// activation (the OpenCLIP towers, gelu, pad with 0); the tokenizer's own files may say otherwise.
TextEncoderConfig parse_text_encoder_config(const nlohmann::json& json, const TextEncoderConfig& base = {});
// ControlNetModel.
ControlNetConfig parse_controlnet_config(const nlohmann::json& json, const ControlNetConfig& base = {});
// AutoencoderTiny.
TaesdConfig parse_taesd_config(const nlohmann::json& json, const TaesdConfig& base = {});
// scheduler_config.json of any diffusers scheduler.
NoiseScheduleConfig parse_schedule_config(const nlohmann::json& json, const NoiseScheduleConfig& base = {});

// Side in pixels that a UNet was trained at: its `sample_size` times the VAE's reduction; `base` where it does not say.
int64_t parse_native_size(const nlohmann::json& unet, size_t vae_levels, int64_t base);

// A sidecar "<name>.config.json": {"unet": {...}, "vae": {...}, "text_encoders": [{...}, ...], "scheduler": {...},
// "prediction_type": "..."}; each part optional, over what was detected from the file.
ModelConfig parse_sidecar(const nlohmann::json& json, const ModelConfig& detected);

// Reads JSON with limits on size (4 MiB), nesting (64) and no duplicate keys; `path` or `name` stands in messages.
nlohmann::json read_json_file(const std::filesystem::path& path);
nlohmann::json parse_json(std::string_view text, std::string_view name);

}  // namespace dreamlab
