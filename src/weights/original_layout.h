#pragma once

// The original (CompVis LDM, Stability sgm) module names and their places in diffusers' naming, as tables. Both namings
// describe the same modules; only the OpenCLIP text tower stores some of them differently (see open_clip_modules).
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "weights/model_config.h"

namespace dreamlab {

// Pairs of module paths: original, diffusers. A path stands for everything below it.
using ModuleNames = std::vector<std::pair<std::string, std::string>>;

// What the numbering of input_blocks and output_blocks depends on.
struct UNetLayout {
  int64_t layers_per_block = 2;
  std::vector<bool> attention = {true, true, true, false};  // per down level
  bool mid_attention = true;
};
UNetLayout layout_of(const UNetConfig& config);

ModuleNames unet_modules(const UNetLayout& layout);
// The down half, and the modules that only a ControlNet has (input_hint_block, zero_convs).
ModuleNames controlnet_modules(const UNetLayout& layout, int64_t hint_convolutions);
ModuleNames vae_modules(int64_t levels, int64_t layers_per_block);
// Fused q, k, v (attn.in_proj_weight, attn.in_proj_bias) and the transposed text_projection are not in here.
ModuleNames open_clip_modules(int64_t layers);
// Community ESRGAN models: "model.1.sub.N.RDB1.conv1.0", upsamplings in between counted from the tensors that are
// there.
ModuleNames sequential_esrgan_modules(int64_t blocks, int64_t upsamplings);
// xinntao/ESRGAN's own names: "RRDB_trunk.N.RDB1.conv1".
ModuleNames original_esrgan_modules(int64_t blocks);

// The published implementations of ESPCN, told apart by how they name their convolutions.
struct EspcnNaming {
  std::vector<std::string> modules;  // in order; the last is the sub-pixel convolution
  EspcnConfig::Hidden hidden;
  bool sigmoid_output;
  EspcnConfig::Range range;
};
const std::vector<EspcnNaming>& espcn_namings();

// Renames tensors by their longest module path that the table knows.
class ModuleRenamer {
 public:
  explicit ModuleRenamer(const ModuleNames& modules);
  // nullopt where no module of the table is a prefix of `name`.
  std::optional<std::string> rename(std::string_view name) const;

 private:
  std::unordered_map<std::string, std::string> modules_;
};

}  // namespace dreamlab
