#pragma once

// diffusers' and transformers' configuration files, from ours: what config_json.h reads, written.
#include <cstddef>
#include <nlohmann/json_fwd.hpp>

#include "weights/model_config.h"

namespace dreamlab {

nlohmann::ordered_json unet_json(const ModelConfig& config);  // with sample_size
nlohmann::ordered_json vae_json(const ModelConfig& config);   // likewise
nlohmann::ordered_json text_encoder_json(const TextEncoderConfig& config);
nlohmann::ordered_json schedule_json(const ModelConfig& config);

}  // namespace dreamlab
