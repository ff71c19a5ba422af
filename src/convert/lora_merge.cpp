#include "convert/lora_merge.h"

#include "base/error.h"

namespace dreamlab {

namespace {

// up [rows, rank] * down [rank, columns]
std::vector<float> product(const HostTensor& up, const HostTensor& down) {
  const std::vector<float> left = up.to_f32(), right = down.to_f32();
  const auto rank = static_cast<size_t>(down.shape[0]);
  const size_t rows = left.size() / rank, columns = right.size() / rank;
  std::vector<float> out(rows * columns);
  for (size_t row = 0; row < rows; ++row)
    for (size_t r = 0; r < rank; ++r)
      for (size_t c = 0; c < columns; ++c) out[row * columns + c] += left[row * rank + r] * right[r * columns + c];
  return out;
}

std::vector<float> change_of(const LoraLayer& layer) {
  std::vector<float> change = product(layer.up, layer.down);
  if (!layer.is_hadamard()) return change;
  const std::vector<float> second = product(layer.second_up, layer.second_down);
  for (size_t i = 0; i < change.size(); ++i) change[i] *= second[i];
  return change;
}

}  // namespace

void LoraMerge::add(const std::filesystem::path& path, const ModelConfig& model, float strength) {
  const LoraFile file = LoraFile::open(path, &model);
  for (const LoraLayer& layer : file.layers()) changes_[layer.module].push_back({layer, strength});
}

HostTensor LoraMerge::merged(std::string_view module, const HostTensor& weight) const {
  const auto found = changes_.find(module);
  if (found == changes_.end()) return weight;
  std::vector<float> values = weight.to_f32();
  for (const Change& change : found->second) {
    const std::vector<float> added = change_of(change.layer);
    if (added.size() != values.size())
      fail(ErrorKind::invalid_file, "{}: the adapter changes {} values, the weight has {}", module, added.size(),
           values.size());
    const float factor = change.strength * change.layer.scale();
    for (size_t i = 0; i < values.size(); ++i) values[i] += factor * added[i];
  }
  return HostTensor::from_f32(std::move(values), weight.shape);
}

}  // namespace dreamlab
