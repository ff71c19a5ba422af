#pragma once

// Finds the networks of a Stable Diffusion model in a file or directory. Checkpoint and inspect_file are built on it.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "weights/expected_tensors.h"
#include "weights/model_config.h"
#include "weights/original_layout.h"
#include "weights/tensor_file.h"
#include "weights/tensor_map.h"

namespace dreamlab {

struct ModelFiles {
  struct Part {
    std::shared_ptr<const TensorMap> weights;  // null: not there
    std::string absent;                        // then why
  };
  std::string format;
  ModelConfig config;
  Part unet, vae;
  std::vector<Part> text_encoders;          // as many as config.text_encoders
  std::vector<std::string> unknown;         // stored tensors that no network takes
  std::map<std::string, int64_t> by_dtype;  // elements stored in each dtype
};

// Throws Error as Checkpoint::open does.
ModelFiles open_model_files(const std::filesystem::path& path);

// "<name>.config.json" beside a single file: what its shapes do not tell.
std::filesystem::path sidecar_of(const std::filesystem::path& single_file);

// The file of weights in a component's directory, `stem` being diffusers' ("diffusion_pytorch_model") or transformers'
// ("model") name: fp16 variants first, then full precision, shards, and PyTorch files. Throws Error(unavailable) naming
// what was looked for.
std::filesystem::path find_weight_file(const std::filesystem::path& directory, const std::string& stem);

// Takes the tensors of `file` below `prefix` into `map`: renamed, or collected in `unknown` under their stored names.
void gather(const TensorFile& file, const std::string& prefix, const ModuleRenamer& renamer, TensorMap& map,
            std::vector<std::string>& unknown);
// The same for tensors that already have diffusers' names.
void gather_as_is(const TensorFile& file, const std::string& prefix, TensorMap& map);
// A VAE in the original layout below `prefix`, or in diffusers' layout (with older names of the attention brought up to
// date).
void gather_vae(const TensorFile& file, const std::string& prefix, TensorMap& map, std::vector<std::string>& unknown);

// Puts the tensors that `map` has beyond `expected` in `unknown`.
void collect_unexpected(const TensorMap& map, const ExpectedTensors& expected, std::vector<std::string>& unknown);

}  // namespace dreamlab
