#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/model_config.h"

namespace dreamlab {

enum class FileKind {
  checkpoint,
  unet,
  lora,
  upscaler,
  espcn,
  vae,
  controlnet,
  taesd,
  text_encoder,
  embedding,
  unknown
};
// "Stable Diffusion checkpoint", "UNet", "LoRA", "upscaler (RRDBNet)", "upscaler (ESPCN)", "VAE (AutoencoderKL)",
// "ControlNet", ...
std::string_view name_of(FileKind kind);
// The same for programs: "checkpoint", "unet", "lora", ...
std::string_view id_of(FileKind kind);

struct PartReport {
  std::string name;        // "UNet", "VAE", "text encoder 1", "LoRA"
  int64_t parameters = 0;  // elements of its tensors
  int64_t tensors = 0;
  std::vector<std::string> missing;  // names (diffusers') our network asks for and the file lacks
};

struct FileReport {
  std::filesystem::path path;
  FileKind kind = FileKind::unknown;
  std::string format;
  uint64_t bytes = 0;
  std::optional<Family> family;
  std::optional<PredictionType> prediction_type;
  std::optional<int64_t> cross_attention_dim;
  std::map<std::string, int64_t> parameters_by_dtype;  // "f16": elements stored so
  std::vector<PartReport> parts;
  std::vector<std::string> unknown;  // stored names that no network of ours takes
  std::map<std::string, std::string>
      facts;  // what else is worth a line: "in-painting": "yes", "scale": "4x", "rank": "4 to 8", ...
};

// What a file or diffusers directory is and whether it is complete. Throws Error only when it cannot be read at all.
FileReport inspect_file(const std::filesystem::path& path);

}  // namespace dreamlab
