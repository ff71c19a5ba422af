#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/lora_file.h"

namespace dreamlab {

// What low-rank adapters add to weights, once and for all.
class LoraMerge {
 public:
  // Throws Error as LoraFile::open does.
  void add(const std::filesystem::path& path, const ModelConfig& model, float strength);

  // `weight`, the weight of a module ("unet.conv_in", see LoraLayer::module), with all changes, as f32; as it is where
  // there are none.
  HostTensor merged(std::string_view module, const HostTensor& weight) const;
  // Weights that change.
  size_t modules() const { return changes_.size(); }

 private:
  struct Change {
    LoraLayer layer;
    float strength;
  };
  std::map<std::string, std::vector<Change>, std::less<>> changes_;
};

}  // namespace dreamlab
