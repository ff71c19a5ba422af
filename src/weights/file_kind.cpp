#include "weights/file_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace dreamlab {
namespace {

struct Signature {
  FileKind kind;
  std::string_view all_of[2];  // stored names; the second may be empty
};

// In order: the first signature that a file has decides.
constexpr std::array<Signature, 23> kSignatures{{
    {FileKind::checkpoint,
     {"model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"}},
    {FileKind::unet, {"model.diffusion_model.input_blocks.0.0.weight", ""}},
    {FileKind::controlnet, {"control_model.input_blocks.0.0.weight", ""}},
    {FileKind::controlnet, {"input_blocks.0.0.weight", "zero_convs.0.0.weight"}},
    {FileKind::controlnet, {"controlnet_cond_embedding.conv_in.weight", ""}},
    {FileKind::unet, {"input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight"}},
    {FileKind::unet, {"conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"}},
    {FileKind::upscaler, {"conv_first.weight", "body.0.rdb1.conv1.weight"}},
    {FileKind::upscaler, {"conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"}},
    {FileKind::upscaler, {"model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"}},
    {FileKind::taesd, {"encoder.layers.0.weight", "decoder.layers.0.weight"}},
    {FileKind::vae, {"encoder.conv_in.weight", "decoder.conv_in.weight"}},
    {FileKind::vae, {"first_stage_model.encoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight"}},
    {FileKind::text_encoder, {"text_model.embeddings.token_embedding.weight", ""}},
    {FileKind::text_encoder, {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", ""}},
    {FileKind::text_encoder, {"token_embedding.weight", "positional_embedding"}},
    {FileKind::embedding, {"emb_params", ""}},
    {FileKind::embedding, {"clip_l", ""}},
    {FileKind::embedding, {"clip_g", ""}},
    {FileKind::embedding, {"string_to_param", ""}},
    {FileKind::espcn, {"first_part.0.weight", "last_part.0.weight"}},
    {FileKind::espcn, {"feature_maps.0.weight", "sub_pixel.0.weight"}},
    {FileKind::espcn, {"conv1.weight", "conv3.weight"}},
}};

struct KindRow {
  FileKind kind;
  std::string_view id, article, name;
};

constexpr std::array<KindRow, 11> kKinds{{
    {FileKind::checkpoint, "checkpoint", "a", "Stable Diffusion checkpoint"},
    {FileKind::unet, "unet", "a", "UNet"},
    {FileKind::lora, "lora", "a", "LoRA"},
    {FileKind::upscaler, "upscaler", "an", "upscaler (RRDBNet)"},
    {FileKind::espcn, "espcn", "an", "upscaler (ESPCN)"},
    {FileKind::vae, "vae", "a", "VAE (AutoencoderKL)"},
    {FileKind::controlnet, "controlnet", "a", "ControlNet"},
    {FileKind::taesd, "taesd", "a", "TAESD (AutoencoderTiny)"},
    {FileKind::text_encoder, "text_encoder", "a", "text encoder"},
    {FileKind::embedding, "embedding", "a", "text embedding (textual inversion)"},
    {FileKind::unknown, "unknown", "", "unknown"},
}};

const KindRow& row_of(FileKind kind) {
  return kKinds[static_cast<size_t>(kind)];
}

bool has_lora_names(const TensorFile& file) {
  constexpr std::array<std::string_view, 8> kMarks{"lora_down",      "lora_A.", "lora.down.", "lora_linear_layer.",
                                                   "lora.up.weight", "hada_w1", "lokr_w1",    "lora_A.weight"};
  return std::any_of(file.tensors().begin(), file.tensors().end(), [&](const auto& item) {
    return std::any_of(kMarks.begin(), kMarks.end(),
                       [&](std::string_view mark) { return item.first.find(mark) != std::string::npos; });
  });
}

}  // namespace

std::string_view name_of(FileKind kind) {
  return row_of(kind).name;
}
std::string described(FileKind kind) {
  if (kind == FileKind::unknown) return "of no network known here";
  return fmt::format("{} {}", row_of(kind).article, row_of(kind).name);
}
std::string_view id_of(FileKind kind) {
  return row_of(kind).id;
}

FileKind kind_of(const TensorFile& file) {
  if (has_lora_names(file)) return FileKind::lora;
  for (const Signature& signature : kSignatures)
    if (file.contains(signature.all_of[0]) && (signature.all_of[1].empty() || file.contains(signature.all_of[1])))
      return signature.kind;
  const bool one_matrix = file.tensors().size() == 1 && file.tensors().begin()->second.shape.rank() <= 2;
  return one_matrix ? FileKind::embedding : FileKind::unknown;
}

}  // namespace dreamlab
