#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weights/model_config.h"
#include "weights/weight_source.h"

namespace dreamlab {

// A Stable Diffusion model: its configuration and the weights of its networks under diffusers' module paths, whichever
// layout the files have. Opening maps the files and reads their headers only.
class Checkpoint {
 public:
  // A network as it was found.
  struct Part {
    std::shared_ptr<const WeightSource> weights;  // null: not there
    std::string absent;                           // then why: what was looked for and not found
  };

  // path: a single file (.safetensors, .ckpt, .pt; original LDM/sgm layout, or a UNet alone in either layout), a
  // sharded index, a diffusers directory (model_index.json and/or sub-directories), or the directory of a UNet alone.
  // A sidecar "<name>.config.json" beside a single file gives what shapes do not tell; see docs of config_json.h.
  // Throws Error: unavailable (no such file), invalid_file (damaged, or another kind of file: the message says which
  // kind).
  static std::unique_ptr<Checkpoint> open(const std::filesystem::path& path);
  // Every network of `config` with RandomWeights of `dtype` storage (f32, f16 or bf16).
  static std::unique_ptr<Checkpoint> random(const ModelConfig& config, uint64_t seed, DType dtype = DType::bf16);

  const ModelConfig& config() const { return config_; }
  // The file or directory; "random" for random weights.
  const std::filesystem::path& path() const { return path_; }
  // "safetensors", "PyTorch zip", "diffusers directory", ...
  const std::string& format() const { return format_; }

  // Each throws Error(unavailable) saying what is missing where, when the model has no such part.
  const WeightSource& unet() const;
  const WeightSource& vae() const;
  // index into config().text_encoders.
  const WeightSource& text_encoder(size_t index) const;
  bool has_unet() const { return unet_.weights != nullptr; }
  bool has_vae() const { return vae_.weights != nullptr; }
  bool has_text_encoder(size_t index) const;

  // Tensors of a single file that belong to no network of ours and are not known leftovers (EMA copies, schedules,
  // position ids).
  const std::vector<std::string>& unknown_tensors() const { return unknown_; }

 private:
  Checkpoint() = default;

  std::filesystem::path path_;
  std::string format_;
  ModelConfig config_;
  Part unet_, vae_;
  std::vector<Part> text_encoders_;
  std::vector<std::string> unknown_;
};

}  // namespace dreamlab
