#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace dreamlab {

struct ConvertOptions {
  struct Lora {
    std::filesystem::path path;
    float strength = 1.0f;
  };
  std::optional<DType> dtype;  // f32, f16 or bf16; unset: every tensor keeps its own
  std::vector<Lora> loras;     // to merge into the weights
};

struct ConvertReport {
  std::vector<std::filesystem::path> files;  // of weights, and the sidecar where there is one
  uint64_t bytes = 0;                        // of the weights
  size_t tensors = 0;                        // as written
  size_t changed = 0;                        // weights that LoRAs changed
  std::vector<std::string> left_out;         // tensors of the source that no network takes
};

// Writes the Stable Diffusion model `source` (a file or directory that Checkpoint::open takes) as `target`: a single
// file in the original LDM/sgm layout where its name ends in .safetensors, else a diffusers directory with its
// configuration and tokenizers. A "<name>.config.json" is written beside a single file whose shapes do not tell all
// (parse_sidecar of config_json.h). Reads the result again and throws Error(internal) where it is another model. Throws
// Error(invalid_argument) where the target is there already or its name is that of another kind of file, else as
// Checkpoint::open and LoraFile::open do. A directory that could not be finished is removed.
ConvertReport convert_model(const std::filesystem::path& source, const std::filesystem::path& target,
                            const ConvertOptions& options = {});

}  // namespace dreamlab
