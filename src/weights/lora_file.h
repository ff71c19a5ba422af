#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/host_tensor.h"
#include "weights/model_config.h"

namespace dreamlab {

// One change of a module's weight: W + strength * scale() * up * down (LoRA, LoCon), or, with second factors,
// W + strength * scale() * (up * down) o (second_up * second_down), multiplied element by element (LoHa; "FedPara",
// Hyeon-Woo et al. 2022, section 2.2).
struct LoraLayer {
  // "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
  // "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", "text_encoder_2..."; text_encoder is the model's first
  // text encoder, text_encoder_2 its second.
  std::string module;
  HostTensor
      down;  // [rank, in] or, for a convolution, [rank, in, kh, kw] with the kernel, stride and padding of the module
  HostTensor up;                                // [out, rank] or [out, rank, 1, 1]
  float alpha;                                  // the rank where the file has no alpha
  HostTensor second_down = {}, second_up = {};  // shaped as the first ones; without data: none

  bool is_hadamard() const { return second_down.data != nullptr; }
  int64_t rank() const { return down.shape[0]; }
  float scale() const { return alpha / static_cast<float>(rank()); }
  // The change multiplied out, [out, in * kh * kw], without its scale.
  std::vector<float> dense() const;
};

// A LoRA, LoCon or LoHa file: kohya-ss names (lora_unet_..., lora_te_/lora_te1_/lora_te2_..., with diffusers' or sgm's
// block names) or diffusers/PEFT names (unet./text_encoder./text_encoder_2. prefixes, lora_A/lora_B, lora.down/lora.up,
// lora_linear_layer).
class LoraFile {
 public:
  // target: the model it will be applied to; its module names resolve the file's flattened ones, and shapes are checked
  // against it. nullptr: the published model that the file's names and shapes point to, shapes unchecked. Throws
  // Error(invalid_file) when this is no LoRA or it was made for another model (the message gives both cross-attention
  // widths or the first layer that does not fit).
  static LoraFile open(const std::filesystem::path& path, const ModelConfig* target);

  const std::vector<LoraLayer>& layers() const { return layers_; }
  // Stored tensors that belong to no module of the target, or to a kind of layer that is not applied (LoKr, DoRA,
  // Tucker decompositions).
  const std::vector<std::string>& unknown_tensors() const { return unknown_; }
  // Width of the text states its cross-attention layers read (768: SD 1.x, 1024: SD 2.x, 2048: SDXL), where it has such
  // layers.
  std::optional<int64_t> cross_attention_dim() const { return cross_attention_dim_; }
  // "kohya", "kohya (sgm names)", "diffusers"
  const std::string& naming() const { return naming_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::vector<LoraLayer> layers_;
  std::vector<std::string> unknown_;
  std::optional<int64_t> cross_attention_dim_;
  std::string naming_;
};

}  // namespace dreamlab
