#include "verify/record_kinds.h"

#include <array>

namespace dreamlab {

std::span<const RecordKind> record_kinds() {
  static constexpr std::array<RecordKind, 15> kKinds = {{
      {"tokenizer.json", "", false, run_tokenizer_record},
      {"emphasis.json", "", false, run_emphasis_record},
      {"*_rng*.safetensors", "", false, run_random_record},
      {"schedulers*.safetensors", "schedulers*.json", false, run_scheduler_record},
      {"*esrgan*.safetensors", "", false, run_esrgan_record},
      {"*taesd*.safetensors", "", false, run_taesd_record},
      {"text_encoder.safetensors", "", true, run_text_encoder_record},
      {"unet.safetensors", "", true, run_unet_record},
      {"unet_lcm_cond.safetensors", "", true, run_guidance_embedding_record},
      {"vae.safetensors", "", true, run_vae_record},
      {"layers.safetensors", "", true, run_layer_record},
      {"controlnet.safetensors", "", true, run_controlnet_record},
      {"lora.safetensors", "", true, run_lora_record},
      {"pipeline*.safetensors", "pipeline*.json", true, run_pipeline_record},
      {"inpaint*.safetensors", "inpaint*.json", true, run_pipeline_record},
  }};
  return kKinds;
}

bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (name.substr(0, star) != pattern.substr(0, star)) return false;
  for (size_t skipped = star; skipped <= name.size(); ++skipped) {
    if (matches(pattern.substr(star + 1), name.substr(skipped))) return true;
  }
  return false;
}

}  // namespace dreamlab
