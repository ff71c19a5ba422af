#include "convert/lora_merge.h"

#include "base/error.h"

namespace dreamlab {

void LoraMerge::add(const std::filesystem::path& path, const ModelConfig& model, float strength) {
  const LoraFile file = LoraFile::open(path, &model);
  for (const LoraLayer& layer : file.layers()) changes_[layer.module].push_back({layer, strength});
}

HostTensor LoraMerge::merged(std::string_view module, const HostTensor& weight) const {
  const auto found = changes_.find(module);
  if (found == changes_.end()) return weight;
  std::vector<float> values = weight.to_f32();
  for (const Change& change : found->second) {
    const std::vector<float> added = change.layer.dense();
    if (added.size() != values.size())
      fail(ErrorKind::invalid_file, "{}: the adapter changes {} values, the weight has {}", module, added.size(),
           values.size());
    const float factor = change.strength * change.layer.scale();
    for (size_t i = 0; i < values.size(); ++i) values[i] += factor * added[i];
  }
  return HostTensor::from_f32(std::move(values), weight.shape);
}

}  // namespace dreamlab
