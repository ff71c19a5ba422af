#pragma once

// Configurations read off the shapes of the stored tensors, where no config.json tells them. What shapes do not carry
// (heads, groups, activations) follows the published models of the family.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "weights/model_config.h"
#include "weights/original_layout.h"
#include "weights/tensor_file.h"
#include "weights/tensor_map.h"

namespace dreamlab {

// What the numbering of a UNet (or the down half of one, in a ControlNet) in the original layout depends on. `prefix`
// stands before "input_blocks"; nullopt where that is not there.
std::optional<UNetLayout> detect_unet_layout(const TensorFile& file, const std::string& prefix);

// The family of a UNet given under diffusers' names. Added conditions (size, crop) make it SDXL, of which the refiner
// has four levels; Linear projections make it SD 2.x.
Family detect_family(const WeightSource& unet);

// Each throws Error(invalid_file) when a tensor that decides the structure is missing or of the wrong rank; `label`
// names the file.
UNetConfig detect_unet_config(const WeightSource& unet, Family family, const std::string& label);
VaeConfig detect_vae_config(const WeightSource& vae, Family family, const std::string& label);
// open_clip: one of OpenCLIP's towers (GELU, padded with 0), else CLIP-L's kind (quick GELU, padded with the end
// token).
TextEncoderConfig detect_text_encoder_config(const WeightSource& encoder, bool open_clip, const std::string& label);
ControlNetConfig detect_controlnet_config(const WeightSource& controlnet, const std::string& label);
TaesdConfig detect_taesd_config(const WeightSource& taesd, const std::string& label);
RrdbNetConfig detect_rrdbnet_config(const WeightSource& network, const std::string& label);
EspcnConfig detect_espcn_config(const WeightSource& network, const EspcnNaming& naming, const std::string& label);

// The width of each number's sinusoid among SDXL's added conditions, which its shapes give only together with the
// pooled text's width: the condition vector is the pooled text and six such sinusoids (five for the refiner).
void settle_added_conditions(ModelConfig& config);

// Whether an SD 2.x UNet predicts v, by the spread of one layer norm's biases: fine-tuning for v leaves a standard
// deviation above 0.09 in up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias, the epsilon models stay below (the
// criterion of ComfyUI). In-painting models and depth models predict epsilon.
PredictionType detect_sd2_prediction(const WeightSource& unet);

// What a file's metadata say of its prediction type: modelspec.prediction_type, or the training steps of the published
// SD 2 files.
std::optional<PredictionType> prediction_from_metadata(const std::map<std::string, std::string>& metadata);

}  // namespace dreamlab
